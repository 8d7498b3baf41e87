// SPDX-License-Identifier: GPL-2.0

//! Ranges of files.

/// Size of a page and of a block of the filesystem, in bytes.
pub const PAGE: usize = 4096;

/// A range of a file, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub at: usize,
    pub len: usize,
}

impl Span {
    pub fn end(self) -> usize {
        self.at + self.len
    }

    pub fn overlaps(self, other: Self) -> bool {
        self.at < other.end() && other.at < self.end()
    }
}

/// The part of a range within the first `size` bytes.
pub fn inside(span: Span, size: usize) -> Span {
    Span {
        at: span.at.min(size),
        len: span.len.min(size.saturating_sub(span.at)),
    }
}
