// SPDX-License-Identifier: GPL-2.0

//! Blocks of files: ranges of files that are made of them, and the limits.

use kernel::prelude::*;

use crate::{
    bindings,
    range::{
        space,
        ByteRange,
        PAGE_SIZE, //
    },
};

/// As many bytes are allocated, freed, copied or shared at once. In between somebody may want to
/// kill us.
pub(super) const MAX_PIECE: u64 = 16 << 20;

/// The greatest size of a file.
pub(super) const MAX_SIZE: u64 = i64::MAX as u64;

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
    pub(super) fn edges(self) -> [Option<Self>; 2] {
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
    pub(super) fn pieces(self, len: u64) -> impl Iterator<Item = Self> {
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

/// What lies behind `at` of the block that it is in, [`None`] if it is the start of one.
pub(super) fn block_rest(at: u64) -> Option<ByteRange<space::File>> {
    ByteRange::between(at, at.checked_next_multiple_of(PAGE_SIZE)?)
}

/// # Errors
///
/// - `EFBIG` if no file can be so large.
pub(super) fn loff(at: u64) -> Result<bindings::loff_t> {
    bindings::loff_t::try_from(at).map_err(|_| EFBIG)
}

#[kunit_tests(daxmf_fs_blocks)]
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
    fn pieces_fill_the_range() -> Result {
        let all = range(3, 10).ok_or(EINVAL)?;

        assert!(all.pieces(3).eq([range(3, 6), range(6, 9), range(9, 10)]
            .into_iter()
            .flatten()));
        Ok(())
    }
}
