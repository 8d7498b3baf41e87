// SPDX-License-Identifier: GPL-2.0

//! The queue of bad blocks to repair.

use core::ops::Range;

use daxmf::fs::FailedAt;
use kernel::{
    alloc::KVVec,
    prelude::*, //
};

use crate::{
    blocks::intersection,
    incore::bad_blocks::BadBlocks, //
};

/// Maximum number of blocks that are repaired before the lock is released, so that changes do not
/// wait for all repairs.
pub(crate) const MAX_REPAIRED: u64 = 64;

struct Repair {
    blocks: Range<u64>,
    failed: FailedAt,
}

/// Bad blocks to repair, with the time of their last failure. No file owns them. The argument
/// `copies` of the methods is the set of bad blocks that have a second copy: superblocks, journal
/// and metadata.
pub(crate) struct RepairQueue {
    /// Sorted by the time of the last failure.
    all: KVVec<Repair>,
}

impl RepairQueue {
    pub(crate) fn new() -> Self {
        Self { all: KVVec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether the queue has some of `copies`.
    pub(crate) fn has_copies(&self, copies: &BadBlocks) -> bool {
        self.all.iter().any(|repair| repair.is_copy(copies))
    }

    /// Reserves memory for `count` more ranges.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn reserve(&mut self, count: usize) -> Result {
        Ok(self.all.reserve(count, GFP_KERNEL)?)
    }

    /// Adds blocks, with the current time. The caller has called [`reserve()`](Self::reserve).
    pub(crate) fn add(&mut self, blocks: Range<u64>) {
        let failed = FailedAt::now();

        let _ = self.all.push_within_capacity(Repair { blocks, failed });
    }

    /// Moves the queued blocks of `bad` to the end of the queue, because they have failed again
    /// now. All other blocks keep their time.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short. Some blocks of `bad` keep their time then.
    pub(crate) fn postpone(&mut self, bad: &Range<u64>) -> Result {
        for index in (0..self.all.len()).rev() {
            let overlaps = |repair: &Repair| !intersection(&repair.blocks, bad).is_empty();

            if !self.all.get(index).is_some_and(overlaps) {
                continue;
            }
            // Up to three entries replace one.
            self.reserve(2)?;
            if let Ok(Repair { blocks, failed }) = self.all.remove(index) {
                let again = intersection(&blocks, bad);

                for rest in [again.end..blocks.end, blocks.start..again.start] {
                    self.insert(index, rest, failed);
                }
                self.add(again);
            }
        }
        Ok(())
    }

    fn insert(&mut self, index: usize, blocks: Range<u64>, failed: FailedAt) {
        if !blocks.is_empty() {
            let _ = self
                .all
                .insert_within_capacity(index, Repair { blocks, failed });
        }
    }

    /// Removes and returns some blocks whose delay is over. Blocks of `copies` come first, because
    /// a repair of other blocks can need a transaction. If `only_copies` is set, returns no other
    /// blocks.
    pub(crate) fn take(&mut self, copies: &BadBlocks, only_copies: bool) -> Option<Range<u64>> {
        let mut due = self.all.iter().take_while(|it| it.failed.is_delay_over());
        let index = match due.position(|repair| repair.is_copy(copies)) {
            None if only_copies => return None,
            index => index.unwrap_or(0),
        };
        let repair = self
            .all
            .get_mut(index)
            .filter(|it| it.failed.is_delay_over())?;
        let start = repair.blocks.start;
        let end = repair.blocks.end.min(start.saturating_add(MAX_REPAIRED));

        repair.blocks.start = end;
        if repair.blocks.is_empty() {
            let _ = self.all.remove(index);
        }
        Some(start..end)
    }
}

impl Repair {
    /// Whether the blocks are in `copies`.
    fn is_copy(&self, copies: &BadBlocks) -> bool {
        copies.contains(self.blocks.start)
    }
}
