// SPDX-License-Identifier: GPL-2.0

//! The reverse map: who owns a block of the device.

use core::ops::Range;

use daxmf::interval_tree::{
    IntervalTree,
    Vacant, //
};
use kernel::prelude::*;

/// Who owns a range of blocks: a piece of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owner {
    pub(crate) inode: u64,
    /// The block of the file that the first block of the range is.
    pub(crate) file_block: u64,
}

// There is one for each extent of each file.
const _: () = assert!(IntervalTree::<Owner>::NODE_SIZE <= 64);

/// All owners of all blocks. A block is shared if it has more than one.
pub(crate) struct Owners {
    tree: IntervalTree<Owner>,
    vacant: KVec<Vacant<Owner>>,
}

impl Owners {
    pub(crate) fn new() -> Self {
        Self {
            tree: IntervalTree::new(),
            vacant: KVec::new(),
        }
    }

    /// Makes sure that `count` owners can be added without an allocation.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn reserve(&mut self, count: usize) -> Result {
        while self.vacant.len() < count {
            self.vacant.push(Vacant::new(GFP_KERNEL)?, GFP_KERNEL)?;
        }
        Ok(())
    }

    /// Adds an owner. [`reserve()`](Self::reserve) has been called for it.
    pub(crate) fn add(&mut self, blocks: Range<u64>, owner: Owner) {
        match self.vacant.pop() {
            Some(vacant) => self.tree.insert(vacant, blocks, owner),
            None => pr_warn!("no memory for the owner of blocks {blocks:x?}\n"),
        }
    }

    pub(crate) fn remove(&mut self, blocks: Range<u64>, owner: Owner) {
        if let Some(vacant) = self.tree.remove(blocks, &owner) {
            // Without room for it, it is freed.
            let _ = self.vacant.push_within_capacity(vacant);
        }
    }

    /// The owners of a part of `blocks`, in the order of where their ranges start.
    pub(crate) fn of(&self, blocks: Range<u64>) -> impl Iterator<Item = (Range<u64>, Owner)> + '_ {
        self.tree
            .overlaps(blocks)
            .map(|(blocks, owner)| (blocks, *owner))
    }

    /// The part of `blocks` from its start on that is, or is not, owned by another than `owner`,
    /// and whether it is.
    pub(crate) fn shared_run(&self, blocks: Range<u64>, owner: Owner) -> (Range<u64>, bool) {
        let mut end = blocks.end;
        let mut is_shared = false;

        for (range, other) in self.of(blocks.clone()) {
            // The piece itself, of which `blocks` is a part.
            if other.inode == owner.inode
                && other.file_block.wrapping_sub(range.start)
                    == owner.file_block.wrapping_sub(blocks.start)
            {
                continue;
            }
            if range.start <= blocks.start {
                is_shared = true;
                end = end.min(range.end);
            } else {
                end = end.min(range.start);
            }
        }
        (blocks.start..end, is_shared)
    }

    /// Calls `f` with each part of `blocks` that nobody owns.
    pub(crate) fn for_each_gap(&self, blocks: Range<u64>, mut f: impl FnMut(Range<u64>)) {
        let mut start = blocks.start;

        for (range, _) in self.of(blocks.clone()) {
            if range.start > start {
                f(start..range.start);
            }
            start = start.max(range.end);
        }
        if start < blocks.end {
            f(start..blocks.end);
        }
    }
}
