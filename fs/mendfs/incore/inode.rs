// SPDX-License-Identifier: GPL-2.0

//! Inodes in memory, with what belongs to them.

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

/// A piece of a file, with the address of its record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub(crate) extent: Extent,
    pub(crate) address: u64,
}

/// What a name of a directory leads to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name {
    pub(crate) target: u64,
    /// The type of the target, in the way of `mode`.
    pub(crate) kind: u32,
}

/// An inode and all that belongs to it.
pub(crate) struct Node {
    pub(crate) inode: Inode,
    /// The pieces of a file, by the first block of the file behind them.
    pub(crate) pieces: RBTree<u64, Piece>,
    /// Number of blocks of all pieces.
    pub(crate) blocks: u64,
    /// The names of a directory, by their positions.
    pub(crate) names: RBTree<u64, Name>,
    /// The positions of the extended attributes.
    pub(crate) attributes: RBTree<u64, ()>,
    /// The address of a symbolic link's target.
    pub(crate) target: Option<u64>,
    /// Whether it shares blocks with another, or with itself, or did so since it was loaded.
    pub(crate) shares: bool,
    /// Whether it is to be removed as soon as that is possible; nobody uses it any more.
    pub(crate) awaits_eviction: bool,
    /// What was found when the filesystem was loaded.
    pub(crate) link_counts: LinkCounts,
}

/// What points to an inode, as it was found.
#[derive(Default)]
pub(crate) struct LinkCounts {
    /// Number of its names.
    pub(crate) names: u32,
    /// Number of the directories in it.
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

    /// Whether nothing belongs to the inode.
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
            && self.names.is_empty()
            && self.attributes.is_empty()
            && self.target.is_none()
    }

    /// The piece that `block` of the file lies in, or the first one behind it.
    pub(crate) fn piece_from(&self, block: u64) -> Option<Piece> {
        let cursor = self.pieces.cursor_lower_bound(&block.checked_add(1)?)?;

        Some(*cursor.current().1)
    }

    /// The piece that ends where `block` of the file starts.
    pub(crate) fn piece_before(&self, block: u64) -> Option<Piece> {
        self.pieces.get(&block).copied()
    }

    /// The last piece that ends at `block` of the file, or before.
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
            born: to_vfs(inode.born),
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

/// An inode as `attributes` describe it.
pub(crate) fn inode_from(attributes: &Attributes) -> Inode {
    Inode {
        mode: attributes.mode,
        uid: attributes.uid,
        gid: attributes.gid,
        device: attributes.device,
        accessed: from_vfs(attributes.accessed),
        modified: from_vfs(attributes.modified),
        changed: from_vfs(attributes.changed),
        born: from_vfs(attributes.born),
        ..Inode::default()
    }
}
