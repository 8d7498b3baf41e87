// SPDX-License-Identifier: GPL-2.0

//! Contents that files share.

use kernel::{
    error::to_result,
    prelude::*, //
};

use crate::{
    bindings,
    range::{
        space,
        ByteRange, //
    },
};

use super::{
    super::{
        iomap,
        lock::{
            BothLocked,
            Frozen,
            LockedInode, //
        },
        FileSystem,
        Inode,
        Place, //
    },
    space::Dirty,
};

/// What is to be shared: `len` bytes of `from` with `to`. What is 0 reaches to the end of `from`.
///
/// # Invariants
///
/// Both files are open, and of superblocks of type `T`, which are the same.
pub(super) struct Remap {
    pub(super) from: *mut bindings::file,
    pub(super) start: bindings::loff_t,
    pub(super) to: *mut bindings::file,
    pub(super) to_start: bindings::loff_t,
    pub(super) len: bindings::loff_t,
    pub(super) flags: c_uint,
}

impl Remap {
    const IS_COMPARED: u32 = bindings::REMAP_FILE_DEDUP;

    /// Shares, and returns the number of bytes for which it is done.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if the flags are unknown, or the ranges are not whole blocks.
    /// - `EBADE` if the contents are to be the same, and are not.
    /// - The errors of [`Inode::unmap()`] and [`FileSystem::share()`], if nothing is shared.
    pub(super) fn run<T: FileSystem>(&self) -> Result<u64> {
        if self.flags & !(Self::IS_COMPARED | bindings::REMAP_FILE_ADVISORY) != 0 {
            return Err(EINVAL);
        }

        // SAFETY: By the type invariants.
        let (from, to) = unsafe {
            (
                Inode::<T>::from_raw(bindings::file_inode(self.from)),
                Inode::<T>::from_raw(bindings::file_inode(self.to)),
            )
        };
        let locked = BothLocked::new(from, to);
        let (from, to) = locked.inodes();
        let mut frozen = Frozen::both(from, to);

        self.unmap(from, to, &mut frozen)?;

        let Some(len) = self.prepare(&locked)? else {
            return Ok(0);
        };
        let start = u64::try_from(self.start).map_err(|_| EINVAL)?;
        let to_start = u64::try_from(self.to_start).map_err(|_| EINVAL)?;

        to.zero_up_to(to_start, &mut frozen)?;

        let range = ByteRange::new(start, len).ok_or(EINVAL)?;

        self.share(from, range, to, to_start, &frozen)
    }

    /// Unmaps both ranges at once: what is compared must not change until it is shared.
    ///
    /// # Errors
    ///
    /// - The errors of [`Inode::unmap()`].
    fn unmap<T: FileSystem>(
        &self,
        from: &Inode<T>,
        to: &Inode<T>,
        frozen: &mut Frozen<'_>,
    ) -> Result {
        let range = self.range(self.start)?;
        let to_range = self.range(self.to_start)?;

        loop {
            let is_unmapped = from.try_unmap(range, Dirty::Kept, frozen)?
                && to.try_unmap(to_range, Dirty::Kept, frozen)?;

            if is_unmapped {
                return Ok(());
            }
            frozen.wait()?;
        }
    }

    /// The bytes from `start` on, before it is known how many there are.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if they are no range.
    fn range(&self, start: bindings::loff_t) -> Result<ByteRange<space::File>> {
        let start = u64::try_from(start).map_err(|_| EINVAL)?;

        match u64::try_from(self.len).map_err(|_| EINVAL)? {
            0 => ByteRange::between(start, u64::MAX),
            len => ByteRange::new(start, len),
        }
        .ok_or(EINVAL)
    }

    /// Checks everything, compares if that is asked for, and returns how many bytes there are to
    /// share.
    ///
    /// # Errors
    ///
    /// - Those of `dax_remap_file_range_prep()`.
    fn prepare<T: FileSystem>(&self, _locked: &BothLocked<'_, T>) -> Result<Option<u64>> {
        let mut len = self.len;

        // SAFETY: The files are open by the type invariants, their inodes are locked, see `run()`.
        // `len` is valid for writes, the operations are static.
        to_result(unsafe {
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

    /// Shares piece by piece. If it ends early, what was done counts.
    fn share<T: FileSystem>(
        &self,
        from: &Inode<T>,
        range: ByteRange<space::File>,
        to: &LockedInode<T>,
        to_start: u64,
        frozen: &Frozen<'_>,
    ) -> Result<u64> {
        let now = to.changed();
        let there = |at: u64| {
            at.checked_sub(range.start())
                .and_then(|at| at.checked_add(to_start))
                .ok_or(EINVAL)
        };
        let mut done = 0;

        let result = from.for_each_piece(range.blocks().ok_or(EINVAL)?, |piece, place| {
            let start = there(piece.start())?;

            match place {
                Place::Hole => {
                    let hole = ByteRange::new(start, piece.len()).ok_or(EINVAL)?;

                    to.punch_blocks(hole, now, frozen)
                }
                _ => to.fs().share(from, piece, to, start, now),
            }?;
            done = piece.end().min(range.end()).saturating_sub(range.start());
            Ok(())
        });

        // Who only replaces what is the same has not changed the file.
        if self.flags & Self::IS_COMPARED == 0 && done != 0 {
            to.grow(to_start.checked_add(done).ok_or(EINVAL)?, now)?;
        }
        match result {
            Err(error) if done == 0 => Err(error),
            _ => Ok(done),
        }
    }
}
