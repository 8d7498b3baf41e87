// SPDX-License-Identifier: GPL-2.0

//! Shares contents between files: `FICLONE`, `FICLONERANGE`, `FIDEDUPERANGE`.
//!
//! Reference: [`fs/remap_range.c`](srctree/fs/remap_range.c)

use core::marker::PhantomData;

use kernel::prelude::*;

use crate::{
    bindings,
    compat,
    range::{
        space,
        ByteRange, //
    },
    wait::check_killed, //
};

use super::{
    blocks::MAX_PIECE,
    invalidate::Dirty,
    iomap,
    lock::{
        BothLocked,
        InvalidateLock,
        LockedInode, //
    },
    read_write::from_count,
    FileSystem,
    Inode,
    Place,
    Purpose,
    Time, //
};

/// A request to share `len` bytes of `from` with `to`. A `len` of 0 means up to the end of `from`.
///
/// # Invariants
///
/// Both files are open, and belong to the same superblock, which is of type `T`.
struct Remap {
    from: *mut bindings::file,
    start: bindings::loff_t,
    to: *mut bindings::file,
    to_start: bindings::loff_t,
    len: bindings::loff_t,
    flags: c_uint,
}

impl Remap {
    const IS_COMPARED: u32 = bindings::REMAP_FILE_DEDUP;

    /// Shares the contents. Returns the number of bytes shared.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if the flags are unknown, or the ranges are not whole blocks.
    /// - `EBADE` for `FIDEDUPERANGE` if the contents differ.
    /// - The errors of [`Inode::unmap()`] and [`FileSystem::share()`], if nothing is shared, or if
    ///   the caller accepts only the whole range.
    fn run<T: FileSystem>(&self) -> Result<u64> {
        if self.flags & !(Self::IS_COMPARED | bindings::REMAP_FILE_ADVISORY) != 0 {
            return Err(EINVAL);
        }

        // SAFETY: Both files are open, and of superblocks of type `T`, by the type invariants.
        let (from, to) = unsafe { (Inode::<T>::of_file(self.from), Inode::<T>::of_file(self.to)) };
        let locked = BothLocked::new(from, to);
        let (from, to) = locked.inodes();
        let mut invalidate_lock = InvalidateLock::both(from, to);

        self.unmap(from, to, &mut invalidate_lock)?;

        let Some(len) = self.prepare(&locked)? else {
            return Ok(0);
        };
        let start = u64::try_from(self.start).map_err(|_| EINVAL)?;
        let to_start = u64::try_from(self.to_start).map_err(|_| EINVAL)?;

        if to_start > to.size() {
            to.zero_up_to(to_start, &mut invalidate_lock)?;
            // `zero_up_to()` can release the locks, and page faults then map pages again. The
            // contents are not compared in this case.
            self.unmap(from, to, &mut invalidate_lock)?;
        }

        let range = ByteRange::new(start, len).ok_or(EINVAL)?;

        self.share(from, range, to, to_start, &invalidate_lock)
    }

    /// Unmaps both ranges without a release of the locks in between: the contents must not change
    /// between the comparison and the sharing.
    ///
    /// # Errors
    ///
    /// - The errors of [`Inode::unmap()`].
    fn unmap<T: FileSystem>(
        &self,
        from: &Inode<T>,
        to: &Inode<T>,
        invalidate_lock: &mut InvalidateLock<'_>,
    ) -> Result {
        let range = self.range(self.start)?;
        let to_range = self.range(self.to_start)?;

        loop {
            let is_unmapped = from.try_unmap(range, Dirty::WriteBack, invalidate_lock)?
                && to.try_unmap(to_range, Dirty::WriteBack, invalidate_lock)?;

            if is_unmapped {
                return Ok(());
            }
            invalidate_lock.wait()?;
        }
    }

    /// The range from `start` on, before the number of bytes is known.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if the range is invalid.
    fn range(&self, start: bindings::loff_t) -> Result<ByteRange<space::File>> {
        let start = u64::try_from(start).map_err(|_| EINVAL)?;

        match u64::try_from(self.len).map_err(|_| EINVAL)? {
            0 => ByteRange::between(start, u64::MAX),
            len => ByteRange::new(start, len),
        }
        .ok_or(EINVAL)
    }

    /// Checks the request, and compares the contents for `FIDEDUPERANGE`. Returns the number of
    /// bytes to share.
    ///
    /// # Errors
    ///
    /// - The errors of `dax_remap_file_range_prep()`.
    fn prepare<T: FileSystem>(&self, _locked: &BothLocked<'_, T>) -> Result<Option<u64>> {
        let mut len = self.len;

        // SAFETY: The files are open by the type invariants, and `run()` has locked their inodes.
        // `len` is valid for writes, and the operations are static.
        compat::check_remap_prep(unsafe {
            bindings::dax_remap_file_range_prep(
                self.from,
                self.start,
                self.to,
                self.to_start,
                &mut len,
                self.flags,
                &iomap::VTable::<T>::COMPARE_OPS,
            )
        })?;

        Ok(u64::try_from(len).ok().filter(|len| *len != 0))
    }

    /// Shares piece by piece. If a piece fails and the caller accepts less than the whole range,
    /// returns the number of bytes that were shared before it.
    fn share<T: FileSystem>(
        &self,
        from: &Inode<T>,
        range: ByteRange<space::File>,
        to: &LockedInode<T>,
        to_start: u64,
        invalidate_lock: &InvalidateLock<'_>,
    ) -> Result<u64> {
        // Deduplication replaces contents by equal contents, so it changes neither size nor times.
        let is_changed = self.flags & Self::IS_COMPARED == 0;
        let now = is_changed.then(|| to.changed());
        let blocks = range.blocks().ok_or(EINVAL)?;
        let mut done = 0_u64;
        let mut share_all = || -> Result {
            while let Some(rest) = blocks.skip(done) {
                check_killed()?;

                let start = to_start.checked_add(done).ok_or(EINVAL)?;
                let len = Self::share_some(from, rest, to, start, now, invalidate_lock)?;

                done = done.saturating_add(len);
            }
            Ok(())
        };
        let result = share_all();
        let done = done.min(range.len());

        if let (Some(now), 1..) = (now, done) {
            to.grow(to_start.checked_add(done).ok_or(EINVAL)?, now)?;
        }
        match result {
            // Without this flag, the caller takes any number of bytes for success.
            Err(error) if done == 0 || self.flags & bindings::REMAP_FILE_ADVISORY == 0 => {
                Err(error)
            }
            _ => Ok(done),
        }
    }

    /// Shares blocks from the first of `blocks` on. Returns the number of bytes shared, which is
    /// not 0.
    ///
    /// # Errors
    ///
    /// - `EUCLEAN` if the filesystem returns an invalid result.
    /// - The errors of [`Inode::find()`], [`FileSystem::share()`] and [`FileSystem::punch()`].
    fn share_some<T: FileSystem>(
        from: &Inode<T>,
        blocks: ByteRange<space::File>,
        to: &LockedInode<T>,
        start: u64,
        now: Option<Time>,
        invalidate_lock: &InvalidateLock<'_>,
    ) -> Result<u64> {
        let found = from.find(blocks, Purpose::Read)?;

        if let Place::Hole = found.place {
            let len = found.range.clip(blocks).ok_or(EUCLEAN)?.len();

            to.punch_blocks(
                ByteRange::new(start, len).ok_or(EINVAL)?,
                now,
                invalidate_lock,
            )?;
            return Ok(len);
        }

        let len = blocks.len().min(MAX_PIECE);
        let piece = ByteRange::new(blocks.start(), len).ok_or(EINVAL)?;

        match to.fs().share(from, piece, to, start, now)? {
            0 => Err(EUCLEAN),
            len => Ok(len),
        }
    }
}

/// The operations of `T`.
pub(super) struct VTable<T: FileSystem>(PhantomData<T>);

impl<T: FileSystem> VTable<T> {
    /// # Safety
    ///
    /// Called by the VFS only, for two files with this table and of the same superblock.
    pub(super) unsafe extern "C" fn remap_file_range(
        from: *mut bindings::file,
        start: bindings::loff_t,
        to: *mut bindings::file,
        to_start: bindings::loff_t,
        len: bindings::loff_t,
        flags: c_uint,
    ) -> bindings::loff_t {
        // INVARIANT: The VFS passes two open files of the same superblock. Only files of type `T`
        // have this table.
        let remap = Remap {
            from,
            start,
            to,
            to_start,
            len,
            flags,
        };

        from_count(remap.run::<T>())
    }
}
