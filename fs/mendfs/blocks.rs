// SPDX-License-Identifier: GPL-2.0

//! Ranges of blocks, of the device or of a file, and the extents that they are in.

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

/// The blocks that a range of bytes touches.
pub(crate) fn blocks<S: Space>(range: ByteRange<S>) -> Range<u64> {
    let pages = range.pages();

    pages.start()..pages.end()
}

/// The bytes of blocks.
pub(crate) fn bytes<S: Space>(blocks: Range<u64>) -> Result<ByteRange<S>> {
    ByteRange::between(blocks.start << BLOCK_SHIFT, blocks.end << BLOCK_SHIFT).ok_or(EINVAL)
}

/// The number of blocks.
pub(crate) fn count(blocks: &Range<u64>) -> u64 {
    blocks.end.saturating_sub(blocks.start)
}

/// The part of two ranges that is in both; may be empty.
pub(crate) fn common(a: &Range<u64>, b: &Range<u64>) -> Range<u64> {
    let start = a.start.max(b.start);

    start..a.end.min(b.end).max(start)
}

impl Extent {
    /// The one that has these blocks of the file, from `block` of the device on.
    pub(crate) fn new(file: &Range<u64>, block: u64) -> Self {
        Self {
            file_block: file.start,
            block,
            count: count(file),
        }
    }

    /// The blocks of the file.
    pub(crate) fn file_blocks(&self) -> Range<u64> {
        self.file_block..self.file_end()
    }

    /// The blocks of the device.
    pub(crate) fn blocks(&self) -> Range<u64> {
        self.block..self.end()
    }

    /// The part with these blocks of the file, which are some of its own.
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
