// SPDX-License-Identifier: GPL-2.0

//! What changes where contents lie: size, holes, sharing.

use core::ptr;

use kernel::{
    error::to_result,
    prelude::*,
    time::{
        delay::fsleep,
        Delta, //
    },
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

use super::super::{
    iomap,
    lock::{
        Frozen,
        LockedInode, //
    },
    FileSystem,
    Inode,
    Place,
    Purpose,
    Time, //
};

/// As many bytes are allocated, freed, copied or shared at once. In between somebody may want to
/// kill us.
pub(super) const MAX_PIECE: u64 = 16 << 20;

/// The greatest size of a file.
const MAX_SIZE: u64 = i64::MAX as u64;

impl ByteRange<space::File> {
    /// The blocks that the range touches.
    pub(super) fn blocks(self) -> Option<Self> {
        self.pages().bytes()
    }

    /// The blocks that all bytes of are in the range.
    pub(super) fn whole_blocks(self) -> Option<Self> {
        let start = self.start().checked_next_multiple_of(PAGE_SIZE)?;

        Self::between(start, round_down(self.end()))
    }

    /// What the range has of blocks that are not in it as a whole: at its start, and at its end.
    fn edges(self) -> [Option<Self>; 2] {
        match self.whole_blocks() {
            Some(inner) => [
                Self::between(self.start(), inner.start()),
                Self::between(inner.end(), self.end()),
            ],
            None => match self.start().checked_next_multiple_of(PAGE_SIZE) {
                // It reaches across a boundary, or ends or starts at one.
                Some(middle) if middle < self.end() => [
                    Self::between(self.start(), middle),
                    Self::between(middle, self.end()),
                ],
                _ => [Some(self), None],
            },
        }
    }

    /// The range in pieces of no more than `len` bytes.
    fn pieces(self, len: u64) -> impl Iterator<Item = Self> {
        let mut rest = Some(self);

        core::iter::from_fn(move || {
            let range = rest?;
            let piece = Self::new(range.start(), range.len().min(len))?;

            rest = Self::between(piece.end(), range.end());
            Some(piece)
        })
    }
}

/// The start of the block that byte `at` is in.
fn round_down(at: u64) -> u64 {
    at.saturating_sub(at % PAGE_SIZE)
}

/// What is to become of what was written through a mapping, but not yet written back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::fs) enum Dirty {
    /// It is written back.
    Kept,
    /// Nobody needs it any more.
    Discarded,
}

impl<T: FileSystem> Inode<T> {
    /// Unmaps a range, and forgets what was mapped there, so that it can get another place.
    ///
    /// This waits for those who use a page through others than the mapping, as direct I/O does.
    /// Page faults may go on then, so it comes before looking where the range lies.
    ///
    /// # Errors
    ///
    /// - `ERESTARTSYS` if there is a signal while somebody uses a page.
    pub(super) fn unmap(
        &self,
        range: ByteRange<space::File>,
        dirty: Dirty,
        frozen: &mut Frozen<'_>,
    ) -> Result {
        while !self.try_unmap(range, dirty, frozen)? {
            frozen.wait()?;
        }
        Ok(())
    }

    /// Unmaps a range if nobody uses a page of it.
    ///
    /// # Errors
    ///
    /// - Those of writing back.
    pub(in crate::fs) fn try_unmap(
        &self,
        range: ByteRange<space::File>,
        dirty: Dirty,
        frozen: &Frozen<'_>,
    ) -> Result<bool> {
        let (start, last) = raw(range);

        if dirty == Dirty::Kept {
            if !self.settle(frozen) {
                return Ok(false);
            }
            // Whatever is written back is also write-protected, and nobody can change that in a
            // mapping that is locked.
            //
            // SAFETY: The mapping of a valid inode is valid.
            to_result(unsafe {
                bindings::filemap_write_and_wait_range(self.mapping(), start, last)
            })?;
        }

        // Without a callback it does not wait. Where it waits by itself, it does so until nobody
        // has the page mapped, and another file may have it mapped for ever.
        //
        // SAFETY: The inode is valid.
        match to_result(unsafe { bindings::dax_break_layout(self.as_raw(), start, last, None) }) {
            Ok(()) => Ok(true),
            Err(ERESTARTSYS) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Calls `f` with each piece of `range` that lies in one place, and with the place. Holes are
    /// not cut.
    ///
    /// # Errors
    ///
    /// - `EINTR` if somebody kills us.
    /// - The errors of `f` and of [`Inode::find()`].
    pub(in crate::fs) fn for_each_piece(
        &self,
        range: ByteRange<space::File>,
        mut f: impl FnMut(ByteRange<space::File>, Place) -> Result,
    ) -> Result {
        let mut rest = Some(range);

        while let Some(range) = rest {
            check_killed()?;

            let mapping = self.find(range, Purpose::Read)?;
            let piece = mapping.range.clip(range).ok_or(EUCLEAN)?;
            let piece = match mapping.place {
                Place::Hole => piece,
                _ => piece.pieces(MAX_PIECE).next().ok_or(EUCLEAN)?,
            };

            f(piece, mapping.place)?;
            rest = ByteRange::between(piece.end(), range.end());
        }
        Ok(())
    }
}

impl<T: FileSystem> LockedInode<T> {
    /// Gives the file blocks of its own for what it shares in `range`.
    ///
    /// # Errors
    ///
    /// - The errors of [`unmap()`](Self::unmap) and [`FileSystem::unshare()`].
    pub(in crate::fs) fn unshare(
        &self,
        range: ByteRange<space::File>,
        frozen: &mut Frozen<'_>,
    ) -> Result {
        let blocks = range.blocks().ok_or(EFBIG)?;

        self.for_each_piece(blocks, |piece, place| match place {
            Place::Mapped {
                is_shared: true, ..
            } => {
                self.unmap(piece, Dirty::Kept, frozen)?;
                self.fs().unshare(self, piece)
            }
            _ => Ok(()),
        })
    }

    /// Zeroes `range`. Holes stay.
    ///
    /// # Errors
    ///
    /// - `EIO` if it lies in bad memory.
    /// - The errors of [`unshare()`](Self::unshare).
    fn zero(&self, range: ByteRange<space::File>, frozen: &mut Frozen<'_>) -> Result {
        self.unshare(range, frozen)?;

        let start = loff(range.start())?;
        let len = loff(range.len())?;

        // SAFETY: The inode is valid, the operations are static, and nobody asks whether anything
        // was zeroed.
        to_result(unsafe {
            bindings::dax_zero_range(
                self.as_raw(),
                start,
                len,
                ptr::null_mut(),
                &iomap::VTable::<T>::OPS,
            )
        })
    }

    /// Zeroes what lies behind the end of the file up to `end`, before the file grows so far. There
    /// may be what was stored behind the end through a mapping, or written before a crash.
    ///
    /// # Errors
    ///
    /// - The errors of [`zero()`](Self::zero).
    pub(super) fn zero_up_to(&self, end: u64, frozen: &mut Frozen<'_>) -> Result {
        match ByteRange::between(self.size(), end) {
            Some(range) => self.zero(range, frozen),
            None => Ok(()),
        }
    }

    /// Makes the file end at `size`, not before where it ends now.
    ///
    /// The caller has zeroed what lies between.
    ///
    /// # Errors
    ///
    /// - The errors of [`FileSystem::resize()`].
    pub(super) fn grow(&self, size: u64, now: Time) -> Result {
        if size <= self.size() {
            return Ok(());
        }

        let raw_size = loff(size)?;

        self.fs().resize(self, size, now)?;
        // SAFETY: The inode is valid, and locked by the type invariants.
        unsafe { bindings::i_size_write(self.as_raw(), raw_size) };
        Ok(())
    }

    /// Sets the size of the file, and lets go of what lies behind it unless the file grows: blocks
    /// that were allocated for later also if the size is what it was.
    ///
    /// # Errors
    ///
    /// - The errors of [`unmap()`](Self::unmap), [`zero()`](Self::zero) and
    ///   [`FileSystem::resize()`].
    pub(super) fn resize(&self, size: u64, now: Time) -> Result {
        let mut frozen = Frozen::new(self);

        if size > self.size() {
            self.zero_up_to(size, &mut frozen)?;
            return self.grow(size, now);
        }

        let raw_size = loff(size)?;
        let behind = size
            .checked_next_multiple_of(PAGE_SIZE)
            .and_then(|start| ByteRange::between(start, MAX_SIZE));

        if let Some(behind) = behind {
            self.unmap(behind, Dirty::Discarded, &mut frozen)?;
        }
        if let Some(tail) = block_rest(size) {
            self.zero(tail, &mut frozen)?;
        }
        self.fs().resize(self, size, now)?;

        // SAFETY: The inode is valid, and locked by the type invariants. `frozen` is the lock of
        // its mapping.
        unsafe { bindings::truncate_setsize(self.as_raw(), raw_size) };
        Ok(())
    }

    /// Makes `range` zeroes: a hole where it is whole blocks.
    ///
    /// # Errors
    ///
    /// - `EIO` if a block that it is a part of is bad: the rest is lost. Nothing has changed.
    /// - The errors of [`zero()`](Self::zero) and [`punch_blocks()`](Self::punch_blocks).
    pub(super) fn punch(
        &self,
        range: ByteRange<space::File>,
        now: Time,
        frozen: &mut Frozen<'_>,
    ) -> Result {
        let edges = range.edges().into_iter().flatten();

        for edge in edges.clone() {
            self.check_good(edge)?;
        }
        for edge in edges {
            self.zero(edge, frozen)?;
        }

        match range.whole_blocks() {
            Some(blocks) => {
                self.unmap(blocks, Dirty::Discarded, frozen)?;
                self.punch_blocks(blocks, now, frozen)
            }
            None => Ok(()),
        }
    }

    /// Takes `blocks` out of the file, which goes on with what lies behind. They end before the
    /// file does.
    ///
    /// # Errors
    ///
    /// - The errors of [`unmap()`](Self::unmap), [`punch_blocks()`](Self::punch_blocks) and
    ///   [`FileSystem::move_contents()`].
    pub(super) fn collapse(
        &self,
        blocks: ByteRange<space::File>,
        now: Time,
        frozen: &mut Frozen<'_>,
    ) -> Result {
        let size = self.size().saturating_sub(blocks.len());
        let raw_size = loff(size)?;

        self.unmap(all_from(blocks.start())?, Dirty::Kept, frozen)?;
        self.punch_blocks(blocks, now, frozen)?;
        self.fs()
            .move_contents(self, blocks.end(), blocks.start(), size, now)?;

        // SAFETY: The inode is valid, and locked by the type invariants. `frozen` is the lock of
        // its mapping.
        unsafe { bindings::truncate_setsize(self.as_raw(), raw_size) };
        Ok(())
    }

    /// Inserts a hole where `blocks` are, and has what was there, which was not all behind the end
    /// of the file, follow.
    ///
    /// # Errors
    ///
    /// - The errors of [`unmap()`](Self::unmap), [`zero()`](Self::zero) and
    ///   [`FileSystem::move_contents()`].
    pub(super) fn insert(
        &self,
        blocks: ByteRange<space::File>,
        now: Time,
        frozen: &mut Frozen<'_>,
    ) -> Result {
        let size = self.size().checked_add(blocks.len()).ok_or(EFBIG)?;
        let raw_size = loff(size)?;

        // It will not be behind the end any more until it was moved.
        if let Some(tail) = block_rest(self.size()) {
            self.zero(tail, frozen)?;
        }
        self.unmap(all_from(blocks.start())?, Dirty::Kept, frozen)?;
        self.fs()
            .move_contents(self, blocks.start(), blocks.end(), size, now)?;

        // SAFETY: The inode is valid, and locked by the type invariants.
        unsafe { bindings::i_size_write(self.as_raw(), raw_size) };
        Ok(())
    }

    /// # Errors
    ///
    /// - `EIO` if a block that `range` touches is bad.
    /// - The errors of [`for_each_piece()`](Self::for_each_piece).
    fn check_good(&self, range: ByteRange<space::File>) -> Result {
        self.for_each_piece(range, |_, place| match place {
            Place::Bad { .. } => Err(EIO),
            _ => Ok(()),
        })
    }

    /// Makes `blocks` a hole. Nobody has them mapped.
    ///
    /// # Errors
    ///
    /// - The errors of [`FileSystem::punch()`].
    pub(super) fn punch_blocks(
        &self,
        blocks: ByteRange<space::File>,
        now: Time,
        _frozen: &Frozen<'_>,
    ) -> Result {
        self.for_each_piece(blocks, |piece, place| match place {
            Place::Hole => Ok(()),
            _ => self.fs().punch(self, piece, now),
        })
    }

    /// Allocates what is a hole of the blocks that `range` touches.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if there are fewer free blocks: nothing was allocated, unless others have taken
    ///   the blocks meanwhile.
    /// - The errors of [`unmap()`](Self::unmap) and [`FileSystem::allocate()`].
    pub(super) fn allocate(
        &self,
        range: ByteRange<space::File>,
        now: Time,
        frozen: &mut Frozen<'_>,
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
                // Who reads a hole through a mapping has the kernel's page of zeroes mapped, which
                // nobody would take away any more when the file is written to.
                self.unmap(piece, Dirty::Kept, frozen)?;
                self.allocate_hole(piece, now)
            }
            _ => Ok(()),
        })
    }

    fn allocate_hole(&self, hole: ByteRange<space::File>, now: Time) -> Result {
        for piece in hole.pieces(MAX_PIECE) {
            check_killed()?;
            self.fs().allocate(self, piece, now)?;
        }
        Ok(())
    }
}

/// All that a file may have from `start` on.
///
/// # Errors
///
/// - `EFBIG` if that is nothing.
fn all_from(start: u64) -> Result<ByteRange<space::File>> {
    ByteRange::between(start, MAX_SIZE).ok_or(EFBIG)
}

/// What lies behind `at` of the block that it is in, [`None`] if it is the start of one.
fn block_rest(at: u64) -> Option<ByteRange<space::File>> {
    ByteRange::between(at, at.checked_next_multiple_of(PAGE_SIZE)?)
}

/// First and last byte of a range, as C takes them. What no file can have is left out.
fn raw(range: ByteRange<space::File>) -> (bindings::loff_t, bindings::loff_t) {
    let cap = |at: u64| bindings::loff_t::try_from(at).unwrap_or(bindings::loff_t::MAX);

    // The greatest `loff_t` stands for the end of the file.
    let last = match range.end() {
        MAX_SIZE.. => bindings::loff_t::MAX,
        end => cap(end.saturating_sub(1)),
    };

    (cap(range.start()), last)
}

/// # Errors
///
/// - `EFBIG` if no file can be so large.
fn loff(at: u64) -> Result<bindings::loff_t> {
    bindings::loff_t::try_from(at).map_err(|_| EFBIG)
}

/// Forgets the contents of an inode that goes, whatever type it is of.
///
/// # Safety
///
/// Called by `evict_inode()` only.
pub(in crate::fs) unsafe fn evict(inode: *mut bindings::inode) {
    // `dax_break_layout_final()` would wait until nobody has a page mapped, also those who have it
    // mapped by way of another file that shares it.
    //
    // SAFETY: The inode is valid by the safety requirements.
    while unsafe { bindings::dax_break_layout(inode, 0, bindings::loff_t::MAX, None) } != 0 {
        fsleep(Delta::from_millis(1));
    }

    // SAFETY: By the safety requirements.
    unsafe {
        bindings::truncate_inode_pages_final(&raw mut (*inode).i_data);
        bindings::clear_inode(inode);
    }
}

#[kunit_tests(daxmf_fs_space)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> Option<ByteRange<space::File>> {
        ByteRange::between(start, end)
    }

    #[test]
    fn edges_of_blocks() -> Result {
        let cases = [
            ((0, 4096), None, None, Some((0, 4096))),
            ((1, 4096), Some((1, 4096)), None, None),
            ((0, 4095), None, Some((0, 4095)), None),
            ((5, 6), Some((5, 6)), None, None),
            ((4095, 4097), Some((4095, 4096)), Some((4096, 4097)), None),
            (
                (1, 8193),
                Some((1, 4096)),
                Some((8192, 8193)),
                Some((4096, 8192)),
            ),
            ((4096, 8193), None, Some((8192, 8193)), Some((4096, 8192))),
        ];
        let some = |ends: Option<(u64, u64)>| ends.and_then(|(start, end)| range(start, end));

        for ((start, end), first, last, whole) in cases {
            let range = range(start, end).ok_or(EINVAL)?;

            assert_eq!(range.edges(), [some(first), some(last)]);
            assert_eq!(range.whole_blocks(), some(whole));
        }
        Ok(())
    }

    #[test]
    fn last_byte_of_all() -> Result {
        let all = range(4096, MAX_SIZE).ok_or(EINVAL)?;

        assert_eq!(raw(all), (4096, i64::MAX));
        assert_eq!(raw(range(0, 4096).ok_or(EINVAL)?), (0, 4095));
        Ok(())
    }

    #[test]
    fn pieces_fill_the_range() -> Result {
        let all = range(3, 10).ok_or(EINVAL)?;

        assert!(all.pieces(3).eq([range(3, 6), range(6, 9), range(9, 10)]
            .into_iter()
            .flatten()));
        Ok(())
    }
}
