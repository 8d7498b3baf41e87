// SPDX-License-Identifier: GPL-2.0

//! The location of the contents of a file.

use crate::range::{
    space,
    ByteRange,
    PAGE_SIZE, //
};

use super::Volume;

/// The purpose of an access to the contents of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To read, or to find data and holes.
    Read,
    /// To write to a hole, by `write()`. The caller holds the inode's lock and the
    /// `invalidate_lock` of its mapping.
    Write,
    /// To write through a mapping. Several threads can do this at once, on different pages.
    WriteFault,
    /// To zero data. Holes can stay. The caller holds the inode's lock, and has unshared the range.
    Zero,
    /// To rewrite one bad block, up to the end of the file. The caller holds the inode's lock, and
    /// has unmapped the block.
    Rewrite,
}

/// The place of a piece of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// No place: the piece reads as zeroes.
    Hole,
    /// On the volume from byte `start` on.
    Mapped {
        /// First byte of the volume.
        start: u64,
        /// Whether other pieces of files share the place.
        is_shared: bool,
        /// Whether the piece was a hole until now. The memory holds zeroes.
        is_new: bool,
    },
    /// At byte `source` of the volume now, and at byte `start` once the write fault has copied the
    /// contents. See [`FileSystem::end_copy()`](super::FileSystem::end_copy()).
    Copied {
        /// First byte of the volume to copy to.
        start: u64,
        /// First byte of the volume to copy from.
        source: u64,
    },
    /// In bad memory, from byte `start` of the volume on. Until the piece is rewritten or becomes a
    /// hole, reads fail with `EIO`, and accesses through a mapping raise SIGBUS.
    Bad {
        /// First byte of the volume.
        start: u64,
    },
    /// In bad memory now, and at byte `start` of the volume once it is written. The memory there
    /// holds zeroes. See [`FileSystem::end_copy()`](super::FileSystem::end_copy()).
    Moved {
        /// First byte of the volume to write to.
        start: u64,
    },
}

impl Place {
    pub(super) fn is_shared(self) -> bool {
        matches!(
            self,
            Self::Mapped {
                is_shared: true,
                ..
            }
        )
    }
}

/// A piece of a file with one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The bytes of the file: whole blocks that include the first byte of the requested range.
    pub range: ByteRange<space::File>,
    /// The place of the bytes.
    pub place: Place,
}

impl Mapping {
    /// Whether this is a valid result of `FileSystem::map()` for `range`. `fs/dax.c` does not check
    /// the result.
    pub(super) fn is_sound(
        &self,
        range: ByteRange<space::File>,
        purpose: Purpose,
        volume: &Volume,
    ) -> bool {
        let has_first = ByteRange::new(range.start(), 1).is_some_and(|b| self.range.contains(b));
        let lies_at = |start: u64| {
            start % PAGE_SIZE == 0
                && ByteRange::new(start, self.range.len()).is_some_and(|r| volume.locate(r).is_ok())
        };
        let is_there = match self.place {
            Place::Hole => matches!(purpose, Purpose::Read | Purpose::Zero),
            Place::Mapped { start, .. } => lies_at(start),
            Place::Copied { start, source } => {
                purpose == Purpose::WriteFault && lies_at(start) && lies_at(source)
            }
            Place::Bad { start } => purpose != Purpose::Rewrite && lies_at(start),
            Place::Moved { start } => purpose == Purpose::Rewrite && lies_at(start),
        };

        has_first && is_there && self.range.is_aligned(PAGE_SIZE)
    }

    /// The page of this mapping that contains byte `at` of the file.
    pub(super) fn page_at(self, at: u64) -> Option<Self> {
        let page = ByteRange::new(at.checked_sub(at % PAGE_SIZE)?, PAGE_SIZE)?;
        let before = page.start().checked_sub(self.range.start())?;
        let place = match self.place {
            Place::Hole => Place::Hole,
            Place::Bad { start } => Place::Bad {
                start: start.checked_add(before)?,
            },
            Place::Moved { start } => Place::Moved {
                start: start.checked_add(before)?,
            },
            Place::Mapped {
                start,
                is_shared,
                is_new,
            } => Place::Mapped {
                start: start.checked_add(before)?,
                is_shared,
                is_new,
            },
            Place::Copied { start, source } => Place::Copied {
                start: start.checked_add(before)?,
                source: source.checked_add(before)?,
            },
        };

        Some(Self { range: page, place })
    }
}
