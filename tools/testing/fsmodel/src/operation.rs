// SPDX-License-Identifier: GPL-2.0

//! The operations, and the numbers of what they are done on.

use crate::span::Span;

/// A file, whatever names it has.
pub type Id = usize;

/// A name, by its number.
pub type Name = usize;

/// An extended attribute, by its number.
pub type Attribute = usize;

/// What is done with a range of another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// `FICLONERANGE`, or `FICLONE` of all of it.
    Clone,
    /// `copy_file_range()`.
    Copy,
    /// `FIDEDUPERANGE`.
    Dedupe,
    /// `write()` out of a mapping of it.
    Write,
    /// `read()` of it into a mapping.
    Read,
}

/// What `fallocate()` makes of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserve {
    Allocate,
    Unshare,
    Zero,
}

/// One operation. The number with a write says what bytes it writes.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    Create(Name),
    MakeDirectory(Name),
    /// With a target of this many bytes.
    MakeLink(Name, usize, u64),
    /// A file without a name, that may get one.
    Temporary,
    Write(Id, Span, u64),
    /// With `O_SYNC`.
    Append(Id, usize, u64),
    /// Through a mapping; then `msync()`, or not.
    MapWrite(Id, Span, u64, bool),
    /// Through a mapping, what lies behind the end in the last page.
    Scribble(Id, u64),
    Read(Id, Span),
    MapRead(Id, Span),
    /// All of its data and holes.
    Seek(Id),
    Truncate(Id, usize),
    /// Growing the file, or not.
    Reserve(Reserve, Id, Span, bool),
    Punch(Id, Span),
    Transfer(Transfer, Id, Span, Id, usize),
    Mode(Id, u32),
    SetAttribute(Id, Attribute, usize, u64),
    RemoveAttribute(Id, Attribute),
    Rename(Name, Name),
    Exchange(Name, Name),
    Link(Name, Name),
    /// A name for a file that has none.
    Publish(Id, Name),
    Unlink(Name),
    Sync(Id),
    /// Unmap and close. A file without a name goes.
    Close(Id),
    /// The memory of a page of it fails.
    Fail(Id, usize),
    /// Compare all.
    Compare,
    /// The filesystem grows by as little as it can, as long as its device has room for that.
    Grow,
    /// Close all, and mount again if that is possible.
    Remount,
}
