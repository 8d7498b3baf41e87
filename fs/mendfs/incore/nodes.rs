// SPDX-License-Identifier: GPL-2.0

//! The inodes of a filesystem in memory, by their numbers.

use kernel::{
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode, //
    },
};

use crate::{
    format::Inode,
    incore::inode::Node, //
};

/// Number of trees: a power of two.
const TREES: usize = 1024;

/// The inodes of a filesystem.
///
/// Each read and each page fault looks for one. A tree of all of them is deep, so they are in many.
///
/// # Invariants
///
/// There are [`TREES`] trees. An inode is in the tree that its [`Place`] says.
pub(crate) struct Nodes(KVVec<RBTree<u64, Node>>);

/// Where an inode is in the order in which [`Nodes`] has them. The default is the first place.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    tree: usize,
    number: u64,
}

impl Place {
    /// The place of the inode of a number.
    pub(crate) fn of(number: u64) -> Self {
        Self {
            // CAST: It is less than `TREES`.
            tree: (number / Inode::UNITS) as usize % TREES,
            number,
        }
    }

    /// The place behind this one.
    pub(crate) fn next(self) -> Self {
        Self {
            number: self.number.saturating_add(1),
            ..self
        }
    }
}

impl Nodes {
    /// There is no inode yet.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn new() -> Result<Self> {
        let mut trees = KVVec::with_capacity(TREES, GFP_KERNEL)?;

        for _ in 0..TREES {
            trees.push(RBTree::new(), GFP_KERNEL)?;
        }
        // INVARIANT: These are all, and they are empty.
        Ok(Self(trees))
    }

    fn tree_mut(&mut self, number: u64) -> Option<&mut RBTree<u64, Node>> {
        self.0.get_mut(Place::of(number).tree)
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Node> {
        self.0.get(Place::of(number).tree)?.get(&number)
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut Node> {
        self.tree_mut(number)?.get_mut(&number)
    }

    /// Adds the inode of a number, which `node` has as its key.
    pub(crate) fn insert(&mut self, number: u64, node: RBTreeNode<u64, Node>) {
        if let Some(tree) = self.tree_mut(number) {
            tree.insert(node);
        }
    }

    pub(crate) fn remove(&mut self, number: u64) {
        if let Some(tree) = self.tree_mut(number) {
            tree.remove(&number);
        }
    }

    /// The inodes from a place on, with their numbers.
    pub(crate) fn iter_from(&self, first: Place) -> impl Iterator<Item = (u64, &Node)> {
        let trees = self.0.get(first.tree..).unwrap_or(&[]);

        trees
            .iter()
            .flat_map(RBTree::iter)
            .map(|(number, node)| (*number, node))
            .skip_while(move |(number, _)| Place::of(*number) < first)
    }

    /// The number of the first inode from a place on that is such as `is_wanted` says.
    pub(crate) fn find(&self, first: Place, is_wanted: impl Fn(&Node) -> bool) -> Option<u64> {
        let (number, _) = self.iter_from(first).find(|(_, node)| is_wanted(node))?;

        Some(number)
    }

    /// All inodes, with their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Node)> {
        self.iter_from(Place::default())
    }
}
