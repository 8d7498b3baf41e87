// SPDX-License-Identifier: GPL-2.0

//! Segments of a volume: ranges that have one owner.

use crate::range::{
    space,
    ByteRange, //
};

/// The owner of a [`Segment`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentOwner {
    /// No owner: the segment is free.
    Free,
    /// The filesystem: metadata, or the journal.
    Metadata,
    /// No owner, but the segment cannot be allocated: its memory is bad, or it aligns the next
    /// segment.
    Unused,
    /// A file.
    File {
        /// The number of the inode.
        number: u64,
        /// The first byte of the file.
        offset: u64,
        /// Whether other pieces of files share a part of the segment.
        is_shared: bool,
    },
}

/// A range of a volume that has one owner. A range that several files share is a segment of each
/// file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The bytes of the volume.
    pub range: ByteRange<space::Volume>,
    /// The owner of the bytes.
    pub owner: SegmentOwner,
}

/// The position of a [`Segment`] in the order of all segments. Segments are ordered by their start.
/// At the same start, segments of files come after others, in the order of inode numbers and file
/// offsets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentPosition {
    /// First byte of the volume.
    pub start: u64,
    /// The number of the inode, 0 if the owner is not a file.
    pub number: u64,
    /// The first byte of the file.
    pub offset: u64,
}

/// The first [`Segment`] of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentStart {
    /// The first segment that contains this byte of the volume.
    Byte(u64),
    /// The first segment at this position or after it.
    Position(SegmentPosition),
}

impl SegmentStart {
    /// A byte of the volume. All segments of the query end after it.
    pub fn byte(self) -> u64 {
        match self {
            Self::Byte(byte) => byte,
            Self::Position(position) => position.start,
        }
    }
}

impl Segment {
    /// The position of the segment.
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

    /// The first possible position of the next segment.
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
