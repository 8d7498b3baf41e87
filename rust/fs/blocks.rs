// SPDX-License-Identifier: GPL-2.0

//! Blocks of files: conversions of ranges of bytes to blocks, and the limits of files.

use kernel::prelude::*;

use crate::{
    bindings,
    range::{
        space,
        ByteRange,
        PAGE_SIZE, //
    },
};

/// The most bytes that are allocated, freed, copied or shared at once: 16 MiB. A fatal signal ends
/// a request between two pieces.
pub(super) const MAX_PIECE: u64 = 16 << 20;

/// The largest size of a file in bytes.
pub(super) const MAX_SIZE: u64 = i64::MAX as u64;

impl ByteRange<space::File> {
    /// The blocks that the range touches, as bytes.
    pub(super) fn blocks(self) -> Option<Self> {
        self.pages().bytes()
    }

    /// The blocks that the range contains as a whole, as bytes.
    pub(super) fn whole_blocks(self) -> Option<Self> {
        let start = self.start().checked_next_multiple_of(PAGE_SIZE)?;

        Self::between(start, round_down(self.end()))
    }

    /// The parts of the range in blocks that the range does not contain as a whole: at its start,
    /// and at its end.
    pub(super) fn edges(self) -> [Option<Self>; 2] {
        match self.whole_blocks() {
            Some(inner) => [
                Self::between(self.start(), inner.start()),
                Self::between(inner.end(), self.end()),
            ],
            None => match self.start().checked_next_multiple_of(PAGE_SIZE) {
                // The range starts at a block boundary, or crosses one.
                Some(middle) if middle < self.end() => [
                    Self::between(self.start(), middle),
                    Self::between(middle, self.end()),
                ],
                _ => [Some(self), None],
            },
        }
    }

    /// Splits the range into pieces of at most `len` bytes.
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

/// The start of the block that contains byte `at`.
fn round_down(at: u64) -> u64 {
    at.saturating_sub(at % PAGE_SIZE)
}

/// The bytes from `at` to the end of its block. Returns [`None`] if `at` is the start of a block.
pub(super) fn block_rest(at: u64) -> Option<ByteRange<space::File>> {
    ByteRange::between(at, at.checked_next_multiple_of(PAGE_SIZE)?)
}

/// Converts an offset or a size for C.
///
/// # Errors
///
/// - `EFBIG` if `at` is larger than the largest file size.
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
