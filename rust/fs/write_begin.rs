// SPDX-License-Identifier: GPL-2.0

//! Places for writes: holes, shared blocks and bad blocks get a new place.

use kernel::prelude::*;

use crate::range::{
    space,
    ByteRange,
    PAGE_SIZE, //
};

use super::{
    invalidate::Dirty,
    lock::{
        InvalidateLock,
        LockedInode, //
    },
    FileSystem,
    Inode,
    Mapping,
    Place,
    Purpose, //
};

impl<T: FileSystem> Inode<T> {
    /// Finds the place of the first byte of `range`, or allocates one.
    ///
    /// # Errors
    ///
    /// - `EAGAIN` if a place must be allocated, and `may_wait` is false.
    /// - The errors of [`find()`](Self::find).
    ///
    /// # Safety
    ///
    /// For [`Purpose::Write`], the caller must hold the inode's lock.
    pub(super) unsafe fn find_or_allocate(
        &self,
        range: ByteRange<space::File>,
        purpose: Purpose,
        may_wait: bool,
    ) -> Result<Mapping> {
        if purpose != Purpose::Write {
            return self.find(range, purpose);
        }

        // SAFETY: The caller holds the inode's lock by the safety requirements.
        let inode = unsafe { LockedInode::assume(self) };
        let find = || inode.find(range, Purpose::Read);

        // A page fault can have begun to copy the page when it was still shared. The file will move
        // to the copy, and the copy would not have what is written to the old place now.
        let found = match self.super_block().shared_pages().find_undisturbed(find) {
            Some(found) => found?,
            None if !may_wait => return Err(EAGAIN),
            None => {
                // While this thread holds the lock, no page fault is running.
                let _invalidate_lock = InvalidateLock::new(self);

                find()?
            }
        };

        match (found.place, found.range.clip(range)) {
            (
                Place::Mapped {
                    is_shared: false, ..
                },
                _,
            ) => Ok(found),
            _ if !may_wait => Err(EAGAIN),
            (Place::Hole, Some(hole)) => inode.fill_hole(hole),
            (Place::Bad { .. }, _) => inode.rewrite(range),
            (place, _) if place.is_shared() => inode.copy_shared(range),
            _ => Ok(found),
        }
    }
}

impl<T: FileSystem> LockedInode<T> {
    /// Replaces the shared blocks of the file in `range` by copies.
    ///
    /// # Errors
    ///
    /// - The errors of [`unmap()`](Self::unmap) and [`FileSystem::unshare()`].
    pub(super) fn unshare(
        &self,
        range: ByteRange<space::File>,
        invalidate_lock: &mut InvalidateLock<'_>,
    ) -> Result {
        let blocks = range.blocks().ok_or(EFBIG)?;

        self.for_each_piece(blocks, |piece, place| match place {
            Place::Mapped {
                is_shared: true, ..
            } => {
                self.unmap(piece, Dirty::WriteBack, invalidate_lock)?;
                self.fs().unshare(self, piece)
            }
            _ => Ok(()),
        })
    }

    /// Replaces the shared blocks of the file in `range` by copies, and returns a place to write
    /// to.
    ///
    /// # Errors
    ///
    /// - The errors of [`unshare()`](Self::unshare), [`rewrite()`](Self::rewrite) and
    ///   [`find()`](Inode::find).
    fn copy_shared(&self, range: ByteRange<space::File>) -> Result<Mapping> {
        self.unshare(range, &mut InvalidateLock::new(self))?;

        let found = self.find(range, Purpose::Read)?;

        match found.place {
            // The filesystem has found an error in the block when it copied the block.
            Place::Bad { .. } => self.rewrite(range),
            _ => Ok(found),
        }
    }

    /// Allocates a new place for the first block of `range`, which is bad.
    ///
    /// # Errors
    ///
    /// - `EIO` if the write does not contain the whole block: the rest of its data is gone.
    /// - `ERESTARTSYS` if a signal is pending while the page is in use.
    /// - The errors of [`find()`](Inode::find).
    fn rewrite(&self, range: ByteRange<space::File>) -> Result<Mapping> {
        let block = ByteRange::new(range.start(), PAGE_SIZE)
            .filter(|block| block.is_aligned(PAGE_SIZE))
            .ok_or(EIO)?;

        if range.end() < block.end().min(self.size()) {
            return Err(EIO);
        }

        let mut invalidate_lock = InvalidateLock::new(self);

        // `map()` returns `Place::Bad` for the block, so no page fault maps it again.
        while !self.invalidate_bad(block.pages(), &invalidate_lock) {
            invalidate_lock.wait()?;
        }
        self.find(block, Purpose::Rewrite)
    }

    /// Allocates a place for a part of `hole`, from the first byte on.
    ///
    /// # Errors
    ///
    /// - The errors of [`find()`](Inode::find).
    fn fill_hole(&self, hole: ByteRange<space::File>) -> Result<Mapping> {
        // A process that has read the hole through a mapping maps the kernel's zero page. This
        // function unmaps the zero page. With `IOMAP_F_NEW`, `fs/dax.c` would unmap it, but without
        // `invalidate_lock`: a page fault could map the new place before that, and `fs/dax.c` would
        // warn.
        let invalidate_lock = InvalidateLock::new(self);
        let mut mapping = self.find(hole, Purpose::Write)?;

        let hole = mapping.range.clip(hole).ok_or(EUCLEAN)?;

        if let Place::Mapped { is_new, .. } = &mut mapping.place {
            // If a page fault has filled the hole meanwhile, it has replaced the zero page, and the
            // page can be dirty.
            if *is_new {
                // Direct I/O does not pin the zero page, so `try_unmap()` finds no page in use.
                self.try_unmap(hole, Dirty::Discard, &invalidate_lock)?;
            }
            *is_new = false;
        }
        Ok(mapping)
    }
}
