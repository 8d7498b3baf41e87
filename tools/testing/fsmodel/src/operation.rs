// SPDX-License-Identifier: GPL-2.0

//! The operations, and the numbers of their files, names and attributes.

use crate::span::Span;

/// The number of a file, independent of its names.
pub type Id = usize;

/// The number of a name.
pub type Name = usize;

/// The number of an extended attribute.
pub type Attribute = usize;

/// A way to transfer a range from one file to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// `FICLONERANGE`, or `FICLONE` for a whole file.
    Clone,
    /// `copy_file_range()`.
    Copy,
    /// `FIDEDUPERANGE`.
    Dedupe,
    /// `write()` to the target from a mapping of the source.
    Write,
    /// `read()` of the source to a mapping of the target.
    Read,
}

/// A mode of `fallocate()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserve {
    Allocate,
    Unshare,
    Zero,
}

/// An operation. The last `u64` of an operation that writes is the seed of the written bytes.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    Create(Name),
    MakeDirectory(Name),
    /// Creates a symbolic link with a target of this many bytes.
    MakeLink(Name, usize, u64),
    /// Creates a file without a name, for `Publish`.
    Temporary,
    Write(Id, Span, u64),
    /// Appends with `O_SYNC`.
    Append(Id, usize, u64),
    /// Writes through a mapping. The `bool` says whether `msync()` follows.
    MapWrite(Id, Span, u64, bool),
    /// Writes through a mapping after the end of the file, in its last page.
    Scribble(Id, u64),
    Read(Id, Span),
    MapRead(Id, Span),
    /// Checks all data and holes with `lseek()`.
    Seek(Id),
    Truncate(Id, usize),
    /// Calls `fallocate()`. The `bool` says whether the file can become longer.
    Reserve(Reserve, Id, Span, bool),
    Punch(Id, Span),
    Transfer(Transfer, Id, Span, Id, usize),
    Mode(Id, u32),
    SetAttribute(Id, Attribute, usize, u64),
    RemoveAttribute(Id, Attribute),
    Rename(Name, Name),
    Exchange(Name, Name),
    Link(Name, Name),
    /// Gives a file of `Temporary` a name.
    Publish(Id, Name),
    Unlink(Name),
    Sync(Id),
    /// Unmaps and closes a file. The kernel removes a file without a name then.
    Close(Id),
    /// Makes the memory of a page fail.
    Fail(Id, usize),
    /// Compares all files with the model.
    Compare,
    /// Grows the filesystem by the smallest possible step, if its device is large enough.
    Grow,
    /// Closes all files, and remounts the filesystem if a command is given.
    Remount,
}
