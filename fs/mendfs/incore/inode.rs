// SPDX-License-Identifier: GPL-2.0

//! Inodes in memory, with their extents, names and attributes.

use daxmf::fs::{
    self,
    Attributes, //
};
use kernel::rbtree::RBTree;

use crate::format::{
    Extent,
    Inode,
    Time, //
};

/// An extent of a file, with the address of its record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub(crate) extent: Extent,
    pub(crate) address: u64,
}

/// A name of a directory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name {
    /// The number of the inode that the name leads to.
    pub(crate) target: u64,
    /// The type of the target, as in `mode`.
    pub(crate) kind: u32,
}

/// An inode, with its extents, names and attributes.
pub(crate) struct Node {
    pub(crate) inode: Inode,
    /// The extents of a file. The key is the first block of the file after the extent.
    pub(crate) pieces: RBTree<u64, Piece>,
    /// Number of blocks of all extents.
    pub(crate) blocks: u64,
    /// The names of a directory. The key is the position.
    pub(crate) names: RBTree<u64, Name>,
    /// The positions of the extended attributes.
    pub(crate) attributes: RBTree<u64, ()>,
    /// The address of the record with the target of a symbolic link.
    pub(crate) target: Option<u64>,
    /// Whether the file has shared a block since the mount, with another file or with itself.
    pub(crate) shares: bool,
    /// Whether the inode has no users, and will be removed later.
    pub(crate) awaits_eviction: bool,
    /// The links that the mount has counted.
    pub(crate) link_counts: LinkCounts,
}

/// The links to an inode, as a mount counts them.
#[derive(Default)]
pub(crate) struct LinkCounts {
    /// Number of names that lead to the inode.
    pub(crate) names: u32,
    /// Number of directories in the inode.
    pub(crate) directories: u32,
}

impl Node {
    pub(crate) fn new(inode: Inode) -> Self {
        Self {
            inode,
            pieces: RBTree::new(),
            blocks: 0,
            names: RBTree::new(),
            attributes: RBTree::new(),
            target: None,
            shares: false,
            awaits_eviction: false,
            link_counts: LinkCounts::default(),
        }
    }

    /// Whether the inode has no extent, name, attribute or target.
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
            && self.names.is_empty()
            && self.attributes.is_empty()
            && self.target.is_none()
    }

    /// The extent that contains `block` of the file, or else the first extent after it.
    pub(crate) fn piece_from(&self, block: u64) -> Option<Piece> {
        let cursor = self.pieces.cursor_lower_bound(&block.checked_add(1)?)?;

        Some(*cursor.current().1)
    }

    /// The extent that ends exactly where `block` of the file starts.
    pub(crate) fn piece_before(&self, block: u64) -> Option<Piece> {
        self.pieces.get(&block).copied()
    }

    /// The last extent that ends where `block` of the file starts, or earlier.
    pub(crate) fn last_piece_until(&self, block: u64) -> Option<Piece> {
        let found = match self.pieces.cursor_lower_bound(&block) {
            Some(cursor) if *cursor.current().0 == block => return Some(*cursor.current().1),
            Some(cursor) => return cursor.peek_prev().map(|(_, piece)| *piece),
            None => self.pieces.cursor_back()?,
        };

        Some(*found.current().1)
    }

    pub(crate) fn attributes(&self) -> Attributes {
        let inode = &self.inode;

        Attributes {
            mode: inode.mode,
            uid: inode.uid,
            gid: inode.gid,
            links: inode.links,
            size: inode.size,
            blocks: self.blocks,
            device: inode.device,
            generation: inode.generation,
            flags: inode.flags,
            version: inode.version,
            accessed: to_vfs(inode.accessed),
            modified: to_vfs(inode.modified),
            changed: to_vfs(inode.changed),
            created: to_vfs(inode.created),
        }
    }
}

pub(crate) fn to_vfs(time: Time) -> fs::Time {
    fs::Time {
        seconds: time.seconds,
        nanoseconds: time.nanoseconds,
    }
}

pub(crate) fn from_vfs(time: fs::Time) -> Time {
    Time {
        seconds: time.seconds,
        nanoseconds: time.nanoseconds,
    }
}

/// An inode with the mode, user, group, device number and times of `attributes`.
pub(crate) fn inode_from(attributes: &Attributes) -> Inode {
    Inode {
        mode: attributes.mode,
        uid: attributes.uid,
        gid: attributes.gid,
        device: attributes.device,
        accessed: from_vfs(attributes.accessed),
        modified: from_vfs(attributes.modified),
        changed: from_vfs(attributes.changed),
        created: from_vfs(attributes.created),
        ..Inode::default()
    }
}
