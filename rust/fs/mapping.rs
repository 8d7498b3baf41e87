// SPDX-License-Identifier: GPL-2.0

//! Where the contents of a file lie.

use crate::range::{
    space,
    ByteRange,
    Window,
    PAGE_SIZE, //
};

use super::Volume;

/// What an access to the contents of a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To read, or to see where there is something.
    Read,
    /// To write to a hole, by `write()`. The caller holds the inode's lock and that of its mapping.
    Write,
    /// To write through a mapping. Several processors may do so at once, on different pages.
    WriteFault,
    /// To zero what is there; holes may stay. The caller holds the inode's lock, and has unshared
    /// the range.
    Zero,
    /// To write one block anew that is bad, all of it as far as the file goes. The caller holds the
    /// inode's lock; nobody has it mapped.
    Rewrite,
}

/// Where a piece of a file lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: it reads as zeroes.
    Hole,
    /// On the volume, from this byte on.
    Mapped {
        /// First byte of the volume.
        start: u64,
        /// Whether other pieces of files lie there, too.
        is_shared: bool,
        /// Whether it was a hole until now. The memory holds zeroes.
        is_new: bool,
    },
    /// On the volume from byte `start` on once the write fault is over, see
    /// [`FileSystem::end_copy()`](super::FileSystem::end_copy()); it lies at `source` now, and is
    /// to be copied from there.
    Copied {
        /// First byte of the volume to copy to.
        start: u64,
        /// First byte of the volume to copy from.
        source: u64,
    },
    /// In memory that is bad, from this byte of the volume on. Who reads it gets `EIO`, who touches
    /// it through a mapping SIGBUS, until it is written anew or made a hole.
    Bad {
        /// First byte of the volume.
        start: u64,
    },
    /// On the volume from byte `start` on once it is written, see
    /// [`FileSystem::end_copy()`](super::FileSystem::end_copy()); it is bad where it lies now. The
    /// memory holds zeroes.
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

/// A piece of a file that lies in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The bytes of the file: whole blocks, with the first byte that was asked for in it.
    pub range: ByteRange<space::File>,
    /// Where they lie.
    pub place: Place,
}

impl Mapping {
    /// Where the piece lies in the volume, be it good or bad; [`None`] if it is a hole, or about to
    /// be copied.
    pub(super) fn window(&self) -> Option<Window<space::Volume, space::File>> {
        let (Place::Mapped { start, .. } | Place::Bad { start }) = self.place else {
            return None;
        };

        Window::new(ByteRange::new(start, self.range.len())?, self.range)
    }

    /// Whether it can be the answer for `range`: `fs/dax.c` relies on it.
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

    /// The one page of it that has byte `at` of the file.
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
