// SPDX-License-Identifier: GPL-2.0

//! Allocation of the space of a regular file: `fallocate()`.
//!
//! Reference: [`fs/open.c`](srctree/fs/open.c)

use core::marker::PhantomData;

use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*, //
};

use crate::{
    bindings,
    range::{
        space,
        ByteRange,
        PAGE_SIZE, //
    },
    wait::check_killed, //
};

use super::{
    blocks::{
        block_rest,
        loff,
        MAX_PIECE,
        MAX_SIZE, //
    },
    invalidate::Dirty,
    lock::{
        InvalidateLock,
        Locked,
        LockedInode, //
    },
    FileSystem,
    Inode,
    Place,
    Time, //
};

/// The operations of `T`.
pub(super) struct VTable<T: FileSystem>(PhantomData<T>);

impl<T: FileSystem> VTable<T> {
    /// # Safety
    ///
    /// Called by the VFS only, for a file with this table.
    pub(super) unsafe extern "C" fn fallocate(
        file: *mut bindings::file,
        mode: c_int,
        offset: bindings::loff_t,
        len: bindings::loff_t,
    ) -> c_long {
        from_result(|| {
            let start = u64::try_from(offset).map_err(|_| EINVAL)?;
            let len = u64::try_from(len).map_err(|_| EINVAL)?;
            let range = ByteRange::new(start, len).ok_or(EINVAL)?;

            // SAFETY: The VFS passes an open file. Only files of type `T` have this table.
            unsafe { Self::change_space(file, mode as u32, range) }.map(|()| 0)
        })
    }

    /// Changes the space of a file as `mode` says, `FALLOC_FL_…`.
    ///
    /// # Errors
    ///
    /// - `EOPNOTSUPP` if the mode is not supported.
    /// - `EFBIG` if the size would exceed a limit of the process or the filesystem.
    /// - The errors of [`LockedInode::zero_up_to()`], [`LockedInode::punch()`],
    ///   [`LockedInode::unshare()`], [`LockedInode::allocate()`] and [`LockedInode::grow()`].
    ///
    /// # Safety
    ///
    /// `file` must be open, and belong to a superblock of type `T`.
    unsafe fn change_space(
        file: *mut bindings::file,
        mode: u32,
        range: ByteRange<space::File>,
    ) -> Result {
        const ALLOCATE: u32 = bindings::FALLOC_FL_ALLOCATE_RANGE;
        const PUNCH: u32 = bindings::FALLOC_FL_PUNCH_HOLE;
        const ZERO: u32 = bindings::FALLOC_FL_ZERO_RANGE;
        const UNSHARE: u32 = bindings::FALLOC_FL_UNSHARE_RANGE;
        const COLLAPSE: u32 = bindings::FALLOC_FL_COLLAPSE_RANGE;
        const INSERT: u32 = bindings::FALLOC_FL_INSERT_RANGE;

        if matches!(mode, COLLAPSE | INSERT) {
            // SAFETY: `file` is open and of type `T` by the safety requirements.
            return unsafe { Self::shift(file, mode == INSERT, range) };
        }
        let kind = mode & !bindings::FALLOC_FL_KEEP_SIZE;

        if !matches!(kind, ALLOCATE | PUNCH | ZERO | UNSHARE) {
            return Err(EOPNOTSUPP);
        }

        // SAFETY: `file` is open and of type `T` by the safety requirements.
        let inode = Locked::new(unsafe { Inode::<T>::of_file(file) });
        let size = match mode & bindings::FALLOC_FL_KEEP_SIZE {
            0 => inode.checked_size(range.end())?,
            _ => inode.size(),
        };

        // SAFETY: `file` is open by the safety requirements, and its inode is locked.
        to_result(unsafe { bindings::file_modified(file) })?;

        let now = inode.changed();
        let mut invalidate_lock = InvalidateLock::new(&inode);

        inode.zero_up_to(size, &mut invalidate_lock)?;
        match kind {
            PUNCH | ZERO => inode.punch(range, now, &mut invalidate_lock)?,
            UNSHARE => inode.unshare(range, &mut invalidate_lock)?,
            _ => (),
        }
        if kind != PUNCH {
            inode.allocate(range, now, &mut invalidate_lock)?;
        }
        inode.grow(size, now)
    }

    /// Removes `range` from a file, or inserts a hole there. The bytes after it move.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if `range` is not whole blocks, or extends to the end of the file.
    /// - `EFBIG` if the size would exceed a limit of the process or the filesystem.
    /// - The errors of [`LockedInode::collapse()`] and [`LockedInode::insert()`].
    ///
    /// # Safety
    ///
    /// `file` must be open, and belong to a superblock of type `T`.
    unsafe fn shift(
        file: *mut bindings::file,
        is_inserted: bool,
        range: ByteRange<space::File>,
    ) -> Result {
        // SAFETY: `file` is open and of type `T` by the safety requirements.
        let inode = Locked::new(unsafe { Inode::<T>::of_file(file) });
        let size = inode.size();
        let is_inside = match is_inserted {
            true => range.start() < size,
            false => range.end() < size,
        };

        if !range.is_aligned(PAGE_SIZE) || !is_inside {
            return Err(EINVAL);
        }
        if is_inserted {
            inode.checked_size(size.checked_add(range.len()).ok_or(EFBIG)?)?;
        }

        // SAFETY: `file` is open by the safety requirements, and its inode is locked.
        to_result(unsafe { bindings::file_modified(file) })?;

        let now = inode.changed();
        let mut invalidate_lock = InvalidateLock::new(&inode);

        match is_inserted {
            true => inode.insert(range, now, &mut invalidate_lock),
            false => inode.collapse(range, now, &mut invalidate_lock),
        }
    }
}

impl<T: FileSystem> Inode<T> {
    /// The size that the file has after it was extended to `end` bytes, or its present size if that
    /// is greater.
    ///
    /// # Errors
    ///
    /// - `EFBIG` if `end` exceeds a limit of the process or the filesystem.
    fn checked_size(&self, end: u64) -> Result<u64> {
        if end <= self.size() {
            return Ok(self.size());
        }

        let raw_end = bindings::loff_t::try_from(end).map_err(|_| EFBIG)?;

        // SAFETY: `self` is a valid inode by the type invariants of `Inode`.
        to_result(unsafe { bindings::inode_newsize_ok(self.as_raw(), raw_end) })?;
        Ok(end)
    }
}

impl<T: FileSystem> LockedInode<T> {
    /// Makes `range` read as zeroes: whole blocks become a hole, and parts of blocks are zeroed.
    ///
    /// # Errors
    ///
    /// - `EIO` if `range` contains only a part of a block, and the block is bad: the rest of its
    ///   data is gone. Nothing has changed then.
    /// - The errors of [`zero()`](Self::zero) and [`punch_blocks()`](Self::punch_blocks).
    fn punch(
        &self,
        range: ByteRange<space::File>,
        now: Time,
        invalidate_lock: &mut InvalidateLock<'_>,
    ) -> Result {
        let edges = range.edges().into_iter().flatten();

        for edge in edges.clone() {
            self.check_good(edge)?;
        }
        for edge in edges {
            self.zero(edge, invalidate_lock)?;
        }

        match range.whole_blocks() {
            Some(blocks) => {
                self.unmap(blocks, Dirty::Discard, invalidate_lock)?;
                self.punch_blocks(blocks, Some(now), invalidate_lock)
                    // Blocks that stay in the file are not recorded as dirty any more.
                    .inspect_err(|_| self.write_back_unmapped(blocks, invalidate_lock))
            }
            None => Ok(()),
        }
    }

    /// Removes `blocks` from the file, and moves the bytes after them down. The file is longer than
    /// the end of `blocks`.
    ///
    /// # Errors
    ///
    /// - The errors of [`unmap()`](Self::unmap), [`punch_blocks()`](Self::punch_blocks) and
    ///   [`FileSystem::move_contents()`].
    fn collapse(
        &self,
        blocks: ByteRange<space::File>,
        now: Time,
        invalidate_lock: &mut InvalidateLock<'_>,
    ) -> Result {
        let size = self.size().saturating_sub(blocks.len());
        let raw_size = loff(size)?;

        self.unmap(all_from(blocks.start())?, Dirty::WriteBack, invalidate_lock)?;
        self.punch_blocks(blocks, Some(now), invalidate_lock)?;
        self.fs()
            .move_contents(self, blocks.end(), blocks.start(), size, now)
            // A part of it can have been done, and set the size.
            .inspect_err(|_| self.refresh())?;

        // SAFETY: By the type invariants of `LockedInode`, the inode is valid, and this thread
        // holds its lock. `invalidate_lock` blocks its page faults.
        unsafe { bindings::truncate_setsize(self.as_raw(), raw_size) };
        Ok(())
    }

    /// Inserts a hole at `blocks`, and moves up all bytes from the start of `blocks` on. The start
    /// of `blocks` is before the end of the file.
    ///
    /// # Errors
    ///
    /// - The errors of [`unmap()`](Self::unmap), [`zero()`](Self::zero) and
    ///   [`FileSystem::move_contents()`].
    fn insert(
        &self,
        blocks: ByteRange<space::File>,
        now: Time,
        invalidate_lock: &mut InvalidateLock<'_>,
    ) -> Result {
        let size = self.size().checked_add(blocks.len()).ok_or(EFBIG)?;
        let raw_size = loff(size)?;

        // The size grows before the move, so the rest of the last block becomes part of the file.
        if let Some(tail) = block_rest(self.size()) {
            self.zero(tail, invalidate_lock)?;
        }
        self.unmap(all_from(blocks.start())?, Dirty::WriteBack, invalidate_lock)?;
        self.fs()
            .move_contents(self, blocks.start(), blocks.end(), size, now)
            .inspect_err(|_| self.refresh())?;

        // SAFETY: By the type invariants of `LockedInode`, the inode is valid, and this thread
        // holds its lock.
        unsafe { bindings::i_size_write(self.as_raw(), raw_size) };
        Ok(())
    }

    /// Checks that no block that `range` touches is bad.
    ///
    /// # Errors
    ///
    /// - `EIO` if a block that `range` touches is bad.
    /// - The errors of [`for_each_piece()`](Self::for_each_piece).
    pub(super) fn check_good(&self, range: ByteRange<space::File>) -> Result {
        self.for_each_piece(range, |_, place| match place {
            Place::Bad { .. } => Err(EIO),
            _ => Ok(()),
        })
    }

    /// Makes `blocks` a hole. The caller has unmapped them.
    ///
    /// # Errors
    ///
    /// - The errors of [`FileSystem::punch()`].
    pub(super) fn punch_blocks(
        &self,
        blocks: ByteRange<space::File>,
        now: Option<Time>,
        _invalidate_lock: &InvalidateLock<'_>,
    ) -> Result {
        self.for_each_piece(blocks, |piece, place| match place {
            Place::Hole => Ok(()),
            _ => self.fs().punch(self, piece, now),
        })
    }

    /// Allocates the holes in the blocks that `range` touches.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if there are too few free blocks. Nothing was allocated then, unless other files
    ///   have taken the blocks in the meantime.
    /// - The errors of [`unmap()`](Self::unmap) and [`FileSystem::allocate()`].
    fn allocate(
        &self,
        range: ByteRange<space::File>,
        now: Time,
        invalidate_lock: &mut InvalidateLock<'_>,
    ) -> Result {
        let blocks = range.blocks().ok_or(EFBIG)?;
        let mut count = 0_u64;

        self.for_each_piece(blocks, |piece, place| {
            if let Place::Hole = place {
                count = count.saturating_add(piece.pages().len());
            }
            Ok(())
        })?;
        if count > self.fs().statistics().free_blocks {
            return Err(ENOSPC);
        }

        self.for_each_piece(blocks, |piece, place| match place {
            Place::Hole => {
                // A process that has read the hole through a mapping maps the kernel's zero page.
                // Once the hole is allocated, a write to the file does not unmap the zero page any
                // more.
                self.unmap(piece, Dirty::WriteBack, invalidate_lock)?;
                self.allocate_hole(piece, now)
            }
            _ => Ok(()),
        })
    }

    /// Allocates a hole in pieces of at most [`MAX_PIECE`] bytes.
    ///
    /// # Errors
    ///
    /// - `EINTR` if the process is killed.
    /// - The errors of [`FileSystem::allocate()`].
    fn allocate_hole(&self, hole: ByteRange<space::File>, now: Time) -> Result {
        for piece in hole.pieces(MAX_PIECE) {
            check_killed()?;
            self.fs().allocate(self, piece, now)?;
        }
        Ok(())
    }
}

/// All bytes that a file can have from `start` on.
///
/// # Errors
///
/// - `EFBIG` if `start` is beyond the largest file size.
fn all_from(start: u64) -> Result<ByteRange<space::File>> {
    ByteRange::between(start, MAX_SIZE).ok_or(EFBIG)
}
