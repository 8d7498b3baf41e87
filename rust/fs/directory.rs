// SPDX-License-Identifier: GPL-2.0

//! Entries of directories, and what is created and renamed there.

use kernel::prelude::*;

use super::{
    Attributes,
    Inode,
    Time, //
};

/// Where the names of a directory start, behind `.` and `..`.
pub const FIRST_POSITION: u64 = 2;

/// A name in a directory.
pub struct Entry<'a> {
    /// The name.
    pub name: &'a [u8],
    /// The number of the inode.
    pub number: u64,
    /// The type of the inode, in the way of `st_mode`.
    pub mode: u32,
    /// Where the directory goes on behind this entry: not less than [`FIRST_POSITION`], greater
    /// than that of the entry before, and less than [`i64::MAX`]. The same name has the same
    /// position as long as it exists.
    pub next: u64,
}

/// An extended attribute that an inode is created with: security modules know it by that.
pub struct Label {
    /// The name, with its namespace: `security.…`.
    pub name: KVec<u8>,
    /// The value.
    pub value: KVec<u8>,
}

impl Label {
    pub(super) fn new(namespace: &[u8], suffix: &[u8], value: &[u8]) -> Result<Self> {
        let mut label = Self {
            name: KVec::new(),
            value: KVec::new(),
        };

        label.name.extend_from_slice(namespace, GFP_KERNEL)?;
        label.name.extend_from_slice(suffix, GFP_KERNEL)?;
        label.value.extend_from_slice(value, GFP_KERNEL)?;
        Ok(label)
    }
}

/// What hides a name of a lower layer of overlayfs: a device file of number 0.
pub struct Whiteout {
    /// As of an inode that is [created](super::FileSystem::create).
    pub attributes: Attributes,
    /// What it is created with.
    pub labels: KVec<Label>,
}

/// What a rename does, all at once.
pub struct Rename<'a, T> {
    /// The directory that has the old name.
    pub from: &'a Inode<T>,
    /// The old name.
    pub name: &'a [u8],
    /// The inode that gets the new name.
    pub inode: &'a Inode<T>,
    /// The directory that gets the new name.
    pub to: &'a Inode<T>,
    /// The new name.
    pub new_name: &'a [u8],
    /// The inode that had the new name before. It loses it, or gets the old name if this is an
    /// exchange. The caller has checked that the types go together.
    pub replaced: Option<&'a Inode<T>>,
    /// Whether the two inodes exchange their names.
    pub exchange: bool,
    /// The inode that is created, and gets the old name. There is none with an exchange.
    pub whiteout: Option<Whiteout>,
    /// The time of the change.
    pub now: Time,
}
