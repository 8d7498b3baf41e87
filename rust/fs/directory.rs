// SPDX-License-Identifier: GPL-2.0

//! Entries of directories, and the arguments of `create()` and `rename()`.

use kernel::prelude::*;

use super::{
    Attributes,
    Inode,
    Time, //
};

/// The position of the first name in a directory, after `.` and `..`.
pub const FIRST_POSITION: u64 = 2;

/// A name in a directory.
pub struct Entry<'a> {
    /// The name.
    pub name: &'a [u8],
    /// The number of the inode.
    pub number: u64,
    /// The type of the inode, as in `st_mode`.
    pub mode: u32,
    /// The position after this entry: at least [`FIRST_POSITION`], greater than that of the
    /// previous entry, and less than [`i64::MAX`]. A name keeps its position while it exists.
    pub next: u64,
}

/// An extended attribute that an inode is created with, such as the label of a security module.
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

/// A whiteout, which hides a name of a lower layer of overlayfs: a device file of number 0.
pub struct Whiteout {
    /// The attributes, as for [`create()`](super::FileSystem::create).
    pub attributes: Attributes,
    /// The extended attributes that the whiteout is created with.
    pub labels: KVec<Label>,
}

/// The arguments of a rename, which is one transaction.
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
    /// The inode that has the new name before the rename. It loses the name, or gets the old one if
    /// [`exchange`](Self::exchange) is set. The caller has checked that the types are compatible.
    pub replaced: Option<&'a Inode<T>>,
    /// Whether the two inodes exchange their names.
    pub exchange: bool,
    /// An inode to create with the old name. It is [`None`] for an exchange.
    pub whiteout: Option<Whiteout>,
    /// The time of the change.
    pub now: Time,
}
