// SPDX-License-Identifier: GPL-2.0

//! Places to write to: what is a hole, shared or bad gets another one.

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
    /// Finds, or makes, where the first byte of `range` lies.
    ///
    /// # Errors
    ///
    /// - `EAGAIN` if it has to be made, and the caller must not wait for that.
    /// - The errors of [`find()`](Self::find).
    ///
    /// # Safety
    ///
    /// For [`Purpose::Write`], the caller must hold the inode's lock.
    pub(super) unsafe fn find_or_make(
        &self,
        range: ByteRange<space::File>,
        purpose: Purpose,
        may_wait: bool,
    ) -> Result<Mapping> {
        if purpose != Purpose::Write {
            return self.find(range, purpose);
        }

        // SAFETY: By the safety requirements.
        let inode = unsafe { LockedInode::assume(self) };
        let found = inode.find(range, Purpose::Read)?;

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
    /// Gives the file blocks of its own for what it shares in `range`.
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
                self.unmap(piece, Dirty::Kept, invalidate_lock)?;
                self.fs().unshare(self, piece)
            }
            _ => Ok(()),
        })
    }

    /// Gives the file a copy of its own of what it shares in `range`, to be written to.
    ///
    /// # Errors
    ///
    /// - The errors of [`unshare()`](Self::unshare), [`rewrite()`](Self::rewrite) and
    ///   [`find()`](Inode::find).
    fn copy_shared(&self, range: ByteRange<space::File>) -> Result<Mapping> {
        self.unshare(range, &mut InvalidateLock::new(self))?;

        let found = self.find(range, Purpose::Read)?;

        match found.place {
            // It was found to be so when it was to be copied.
            Place::Bad { .. } => self.rewrite(range),
            _ => Ok(found),
        }
    }

    /// Finds a place to write the first block of `range` to, which is bad where it lies.
    ///
    /// # Errors
    ///
    /// - `EIO` if not all of the block is to be written: the rest is lost.
    /// - `ERESTARTSYS` if there is a signal while somebody uses the page.
    /// - The errors of [`find()`](Inode::find).
    fn rewrite(&self, range: ByteRange<space::File>) -> Result<Mapping> {
        let block = ByteRange::new(range.start(), PAGE_SIZE)
            .filter(|block| block.is_aligned(PAGE_SIZE))
            .ok_or(EIO)?;

        if range.end() < block.end().min(self.size()) {
            return Err(EIO);
        }

        let mut invalidate_lock = InvalidateLock::new(self);

        // Nobody can map it again.
        while !self.invalidate_bad(block.pages(), &invalidate_lock) {
            invalidate_lock.wait()?;
        }
        self.find(block, Purpose::Rewrite)
    }

    /// Makes a part of `hole` lie somewhere, from the first byte on.
    ///
    /// # Errors
    ///
    /// - The errors of [`find()`](Inode::find).
    fn fill_hole(&self, hole: ByteRange<space::File>) -> Result<Mapping> {
        // Who reads a hole through a mapping has the kernel's page of zeroes mapped. `fs/dax.c`
        // would see to it if it were told that the place is new, but it has no lock then, and warns
        // if somebody maps the new place in between.
        let invalidate_lock = InvalidateLock::new(self);
        let mut mapping = self.find(hole, Purpose::Write)?;

        if let Place::Mapped { is_new, .. } = &mut mapping.place {
            *is_new = false;
        }
        // Nobody uses the page of zeroes in the way of direct I/O.
        let hole = mapping.range.clip(hole).ok_or(EUCLEAN)?;

        self.try_unmap(hole, Dirty::Kept, &invalidate_lock)?;
        Ok(mapping)
    }
}
