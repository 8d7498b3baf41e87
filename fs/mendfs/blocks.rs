// SPDX-License-Identifier: GPL-2.0

//! Ranges of blocks, of the volume or of a file, and conversions to bytes and extents.

use core::ops::Range;

use daxmf::range::{
    ByteRange,
    Space, //
};
use kernel::prelude::*;

use crate::format::{
    Extent,
    BLOCK_SHIFT, //
};

/// The blocks that a range of bytes overlaps.
pub(crate) fn blocks<S: Space>(range: ByteRange<S>) -> Range<u64> {
    let pages = range.pages();

    pages.start()..pages.end()
}

/// The bytes of a range of blocks.
///
/// # Errors
///
/// - `EINVAL` if the range is empty.
pub(crate) fn bytes<S: Space>(blocks: Range<u64>) -> Result<ByteRange<S>> {
    ByteRange::between(blocks.start << BLOCK_SHIFT, blocks.end << BLOCK_SHIFT).ok_or(EINVAL)
}

/// The number of blocks in a range.
pub(crate) fn count(blocks: &Range<u64>) -> u64 {
    blocks.end.saturating_sub(blocks.start)
}

/// The intersection of two ranges; can be empty.
pub(crate) fn intersection(a: &Range<u64>, b: &Range<u64>) -> Range<u64> {
    let start = a.start.max(b.start);

    start..a.end.min(b.end).max(start)
}

impl Extent {
    /// Creates the extent that maps blocks `file` of a file to the blocks of the volume from
    /// `block` on.
    pub(crate) fn new(file: &Range<u64>, block: u64) -> Self {
        Self {
            file_block: file.start,
            block,
            count: count(file),
        }
    }

    /// The blocks of the extent in the file.
    pub(crate) fn file_blocks(&self) -> Range<u64> {
        self.file_block..self.file_end()
    }

    /// The blocks of the extent on the volume.
    pub(crate) fn blocks(&self) -> Range<u64> {
        self.block..self.end()
    }

    /// The part of the extent for blocks `file` of the file, all of which are in the extent.
    pub(crate) fn part(&self, file: Range<u64>) -> Self {
        Self {
            file_block: file.start,
            block: self
                .block
                .saturating_add(file.start.saturating_sub(self.file_block)),
            count: count(&file),
        }
    }
}
