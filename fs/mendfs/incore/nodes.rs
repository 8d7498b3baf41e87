// SPDX-License-Identifier: GPL-2.0

//! The inodes of a filesystem in memory, by number.

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
/// Each read and each page fault looks up an inode. Many trees are less deep than one tree, so a
/// lookup is faster.
///
/// # Invariants
///
/// There are [`TREES`] trees. An inode is in the tree that its [`Place`] names.
pub(crate) struct Nodes(KVVec<RBTree<u64, Node>>);

/// The place of an inode in the order of [`Nodes`]. The default is the first place.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    tree: usize,
    number: u64,
}

impl Place {
    /// The place of inode `number`.
    pub(crate) fn of(number: u64) -> Self {
        Self {
            // CAST: `TREES` is a power of two, so the lower bits are enough.
            tree: (number / Inode::UNITS) as usize % TREES,
            number,
        }
    }

    /// The next place.
    pub(crate) fn next(self) -> Self {
        Self {
            number: self.number.saturating_add(1),
            ..self
        }
    }
}

impl Nodes {
    /// Creates the trees, without an inode.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn new() -> Result<Self> {
        let mut trees = KVVec::with_capacity(TREES, GFP_KERNEL)?;

        for _ in 0..TREES {
            trees.push(RBTree::new(), GFP_KERNEL)?;
        }
        // INVARIANT: The loop has pushed `TREES` trees, and they are empty.
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

    /// Adds inode `number`, which is the key of `node`.
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

    /// Iterates over the inodes from a place on, with their numbers.
    pub(crate) fn iter_from(&self, first: Place) -> impl Iterator<Item = (u64, &Node)> {
        let trees = self.0.get(first.tree..).unwrap_or(&[]);

        trees
            .iter()
            .flat_map(RBTree::iter)
            .map(|(number, node)| (*number, node))
            .skip_while(move |(number, _)| Place::of(*number) < first)
    }

    /// The number of the first inode from a place on for which `is_wanted` returns true.
    pub(crate) fn find(&self, first: Place, is_wanted: impl Fn(&Node) -> bool) -> Option<u64> {
        let (number, _) = self.iter_from(first).find(|(_, node)| is_wanted(node))?;

        Some(number)
    }

    /// Iterates over all inodes, with their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Node)> {
        self.iter_from(Place::default())
    }
}
