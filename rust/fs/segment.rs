// SPDX-License-Identifier: GPL-2.0

//! Segments of a volume: pieces that have one owner.

use crate::range::{
    space,
    ByteRange, //
};

/// Who owns a [`Segment`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentOwner {
    /// Nobody: it is free.
    Free,
    /// The filesystem: metadata, or its journal.
    Metadata,
    /// Nobody, and it cannot be used: it is bad, or there to align what follows.
    Unused,
    /// A file.
    File {
        /// The number of the inode.
        number: u64,
        /// The first byte of the file.
        offset: u64,
        /// Whether some of it belongs to other pieces of files, too.
        is_shared: bool,
    },
}

/// A piece of a volume that has one owner. What several files share is a piece of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it lies.
    pub range: ByteRange<space::Volume>,
    /// Who owns it.
    pub owner: SegmentOwner,
}

/// The place of a [`Segment`] among all: they are in the order of where they start; those of files
/// that start at the same byte are behind others, in the order of inodes and offsets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentPosition {
    /// First byte of the volume.
    pub start: u64,
    /// The number of the inode, 0 if no file owns it.
    pub number: u64,
    /// The first byte of the file.
    pub offset: u64,
}

/// The first [`Segment`] that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentStart {
    /// The first one that has this byte of the volume.
    Byte(u64),
    /// The first one at this position, or behind it.
    Position(SegmentPosition),
}

impl SegmentStart {
    /// No segment that is wanted ends at this byte of the volume, or before.
    pub fn byte(self) -> u64 {
        match self {
            Self::Byte(byte) => byte,
            Self::Position(position) => position.start,
        }
    }
}

impl Segment {
    /// Its place among all.
    pub fn position(&self) -> SegmentPosition {
        let start = self.range.start();

        match self.owner {
            SegmentOwner::File { number, offset, .. } => SegmentPosition {
                start,
                number,
                offset,
            },
            _ => SegmentPosition {
                start,
                ..SegmentPosition::default()
            },
        }
    }

    /// The place of the first one that may be behind it.
    pub(super) fn next_position(&self) -> SegmentPosition {
        let position = self.position();

        match self.owner {
            SegmentOwner::File { .. } => SegmentPosition {
                offset: position.offset.saturating_add(self.range.len()),
                ..position
            },
            _ => SegmentPosition {
                start: self.range.end(),
                ..position
            },
        }
    }
}
