// SPDX-License-Identifier: GPL-2.0

//! The reverse map: the owners of each block of the data area. These are files, and chunks of the
//! metadata other than chunk 0.

use core::ops::Range;

use daxmf::interval_tree::{
    IntervalTree,
    Vacant, //
};
use kernel::prelude::*;

use crate::format::Extent;

/// The owner of a range of blocks: an extent of a file, or a copy of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owner {
    /// The number of the inode, or [`METADATA`](Self::METADATA) and the number of the chunk.
    pub(crate) inode: u64,
    /// The first block of the extent in the file, or the number of the copy.
    pub(crate) file_block: u64,
}

impl Owner {
    /// The bit that marks a chunk. The numbers of inodes are less, because they are addresses of
    /// records.
    const METADATA: u64 = 1 << 62;

    /// The owner for a copy of a chunk of the metadata.
    pub(crate) fn metadata(chunk: u64, copy: u64) -> Self {
        Self {
            inode: chunk | Self::METADATA,
            file_block: copy,
        }
    }

    /// The number of the chunk and of the copy; [`None`] for a file.
    pub(crate) fn chunk(&self) -> Option<(u64, u64)> {
        let is_metadata = self.inode & Self::METADATA != 0;

        is_metadata.then_some((self.inode & !Self::METADATA, self.file_block))
    }

    /// Whether the owner is an extent of a file.
    pub(crate) fn is_file(&self) -> bool {
        self.inode < Self::METADATA
    }
}

// Each extent of each file takes one node of the tree, so a node must stay small.
const _: () = assert!(IntervalTree::<Owner>::NODE_SIZE <= 64);

/// All owners of all blocks. A block with more than one owner is shared.
pub(crate) struct Owners {
    tree: IntervalTree<Owner>,
}

impl Owners {
    pub(crate) fn new() -> Self {
        Self {
            tree: IntervalTree::new(),
        }
    }

    /// Adds an owner.
    pub(crate) fn add(&mut self, vacant: Vacant<Owner>, blocks: Range<u64>, owner: Owner) {
        self.tree.insert(vacant, blocks, owner);
    }

    /// Removes an owner, and returns its memory. Returns [`None`] if there is no such owner.
    pub(crate) fn remove(&mut self, blocks: Range<u64>, owner: Owner) -> Option<Vacant<Owner>> {
        self.tree.remove(blocks, &owner)
    }

    /// Iterates over the owners of any part of `blocks`, with their ranges, in the order in which
    /// the ranges start.
    pub(crate) fn of(&self, blocks: Range<u64>) -> impl Iterator<Item = (Range<u64>, Owner)> + '_ {
        self.tree
            .overlaps(blocks)
            .map(|(blocks, owner)| (blocks, *owner))
    }

    /// A part of `blocks` from their start on, and whether it is shared: whether it has another
    /// owner in addition to `owner`. A shared part ends where the first of the other owners ends.
    /// The blocks after a shared part can be shared, too: to visit all other owners would take time
    /// in proportion to their number.
    pub(crate) fn shared_run(&self, blocks: Range<u64>, owner: Owner) -> (Range<u64>, bool) {
        // Whether `other` is the extent of `owner`, of which `blocks` is a part.
        let is_itself = |range: &Range<u64>, other: &Owner| {
            other.inode == owner.inode
                && other.file_block.wrapping_sub(range.start)
                    == owner.file_block.wrapping_sub(blocks.start)
        };
        let other = self
            .of(blocks.clone())
            .find(|(range, other)| !is_itself(range, other));

        match other {
            Some((range, _)) if range.start <= blocks.start => {
                (blocks.start..blocks.end.min(range.end), true)
            }
            Some((range, _)) => (blocks.start..range.start, false),
            None => (blocks, false),
        }
    }

    /// The part of `blocks` from their start on that lies in one copy of a chunk, and that copy as
    /// the owner. If the first block is in no chunk: the part that lies in no chunk, and [`None`].
    pub(crate) fn metadata_run(&self, blocks: &Range<u64>) -> (Range<u64>, Option<Owner>) {
        let chunk = self
            .of(blocks.clone())
            .find(|(_, owner)| owner.chunk().is_some());

        match chunk {
            Some((range, owner)) if range.start <= blocks.start => {
                (blocks.start..blocks.end.min(range.end), Some(owner))
            }
            Some((range, _)) => (blocks.start..range.start, None),
            None => (blocks.clone(), None),
        }
    }

    /// Calls `f` with each part of `blocks` without an owner.
    pub(crate) fn for_each_gap(&self, blocks: Range<u64>, f: impl FnMut(Range<u64>)) {
        for_each_gap(&self.tree, blocks, f);
    }

    /// The maximum number of parts of `blocks` without an owner, after some owners are removed.
    /// Owners separate the parts, so that there is at most one part more than owners. Each owner
    /// has at least one block, so that at most every other block is a part.
    pub(crate) fn max_gaps(&self, blocks: &Range<u64>) -> usize {
        // CAST: A filesystem has at most 2^36 blocks.
        let most = blocks.end.saturating_sub(blocks.start).div_ceil(2) as usize;

        match most {
            0..=1 => most,
            _ => most.min(self.of(blocks.clone()).take(most).count().saturating_add(1)),
        }
    }
}

/// Calls `f` with each part of `range` that no interval of the tree covers. Each step looks up one
/// interval, however many intervals overlap there.
pub(crate) fn for_each_gap<V>(
    tree: &IntervalTree<V>,
    range: Range<u64>,
    mut f: impl FnMut(Range<u64>),
) {
    let mut start = range.start;

    while start < range.end {
        let found = match tree.overlaps(start..range.end).next() {
            Some((found, _)) => found,
            None => range.end..range.end,
        };

        if found.start > start {
            f(start..found.start);
        }
        start = found.end;
    }
}

#[kunit_tests(daxmf_mendfs_owners)]
mod tests {
    use super::*;

    fn owner(inode: u64, file_block: u64) -> Owner {
        Owner { inode, file_block }
    }

    fn owners(of: &[(Range<u64>, Owner)]) -> Result<Owners> {
        let mut owners = Owners::new();

        for (blocks, owner) in of {
            owners.add(Vacant::new(GFP_KERNEL)?, blocks.clone(), *owner);
        }
        Ok(owners)
    }

    fn gaps(owners: &Owners, blocks: Range<u64>) -> Result<KVec<Range<u64>>> {
        let mut gaps = KVec::new();
        let mut result = Ok(());

        owners.for_each_gap(blocks, |gap| result = gaps.push(gap, GFP_KERNEL));
        result?;
        Ok(gaps)
    }

    #[test]
    fn gaps_have_no_owner() -> Result {
        let owners = owners(&[
            (10..20, owner(1, 0)),
            (12..14, owner(2, 0)),
            (18..25, owner(3, 0)),
            (18..25, owner(3, 9)),
            (30..31, owner(4, 0)),
        ])?;

        assert_eq!(gaps(&owners, 0..40)?.as_slice(), [0..10, 25..30, 31..40]);
        assert_eq!(gaps(&owners, 13..25)?.as_slice(), [] as [Range<u64>; 0]);
        assert_eq!(gaps(&owners, 24..31)?.as_slice(), [25..30]);
        assert_eq!(owners.max_gaps(&(30..31)), 1);
        assert_eq!(owners.max_gaps(&(10..12)), 1);
        assert_eq!(owners.max_gaps(&(10..25)), 5);
        assert_eq!(owners.max_gaps(&(26..29)), 1);
        Ok(())
    }

    #[test]
    fn metadata_is_found_between_files() -> Result {
        let chunk = Owner::metadata(2, 1);
        let owners = owners(&[
            (10..40, owner(1, 0)),
            (48..64, chunk),
            (70..80, owner(1 << 31, 0)),
        ])?;

        assert_eq!(owners.metadata_run(&(12..90)), (12..48, None));
        assert_eq!(owners.metadata_run(&(48..90)), (48..64, Some(chunk)));
        assert_eq!(owners.metadata_run(&(50..52)), (50..52, Some(chunk)));
        assert_eq!(owners.metadata_run(&(64..90)), (64..90, None));
        assert_eq!(gaps(&owners, 30..70)?.as_slice(), [40..48, 64..70]);
        assert_eq!(chunk.chunk(), Some((2, 1)));
        assert_eq!(owner(1 << 31, 0).chunk(), None);
        assert!(owner(1 << 31, 0).is_file() && !chunk.is_file());
        Ok(())
    }

    #[test]
    fn an_extent_is_not_shared_with_itself() -> Result {
        let owners = owners(&[
            (10..20, owner(1, 100)),
            (15..17, owner(1, 300)),
            (15..16, owner(2, 0)),
        ])?;
        let run = |blocks: Range<u64>, owner| owners.shared_run(blocks, owner);

        assert_eq!(run(10..20, owner(1, 100)), (10..15, false));
        assert_eq!(run(15..20, owner(1, 105)), (15..16, true));
        assert_eq!(run(16..20, owner(1, 106)), (16..17, true));
        assert_eq!(run(17..20, owner(1, 107)), (17..20, false));
        assert_eq!(run(15..17, owner(1, 300)), (15..17, true));
        Ok(())
    }
}

impl Extent {
    pub(crate) fn owner(&self, inode: u64) -> Owner {
        Owner {
            inode,
            file_block: self.file_block,
        }
    }
}
