// SPDX-License-Identifier: GPL-2.0

//! Bad blocks that are to be repaired.

use core::ops::Range;

use daxmf::fs::FailedAt;
use kernel::{
    alloc::KVVec,
    prelude::*, //
};

use crate::{
    blocks::common,
    incore::bad_blocks::BadBlocks, //
};

/// How many blocks are repaired before others get the lock.
const MAX_REPAIRED: u64 = 64;

struct Repair {
    blocks: Range<u64>,
    failed: FailedAt,
}

/// Bad blocks to repair, that no file has, each with the time at which it failed last. `copies` are
/// those bad blocks that there are two copies of.
pub(crate) struct RepairQueue {
    /// By these times.
    all: KVVec<Repair>,
}

impl RepairQueue {
    pub(crate) fn new() -> Self {
        Self { all: KVVec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether some of `copies` are to be repaired.
    pub(crate) fn has_copies(&self, copies: &BadBlocks) -> bool {
        self.all.iter().any(|repair| repair.is_copy(copies))
    }

    /// Makes room for `count` ranges.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn reserve(&mut self, count: usize) -> Result {
        Ok(self.all.reserve(count, GFP_KERNEL)?)
    }

    /// Adds blocks that fail, or that a file gives up, at this moment. [`reserve()`](Self::reserve)
    /// has been called.
    pub(crate) fn add(&mut self, blocks: Range<u64>) {
        let failed = FailedAt::now();

        let _ = self.all.push_within_capacity(Repair { blocks, failed });
    }

    /// Notes that blocks fail at this moment. Those of them that are to be repaired wait anew, and
    /// nobody else does.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short. Then some wait no longer than before.
    pub(crate) fn postpone(&mut self, bad: &Range<u64>) -> Result {
        for index in (0..self.all.len()).rev() {
            let is_one = |repair: &Repair| !common(&repair.blocks, bad).is_empty();

            if !self.all.get(index).is_some_and(is_one) {
                continue;
            }
            // Three come in the place of one.
            self.reserve(2)?;
            if let Ok(Repair { blocks, failed }) = self.all.remove(index) {
                let again = common(&blocks, bad);

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

    /// Takes some blocks that can be repaired: `copies` first, without which the others cannot come
    /// back, and no others if `only_copies`.
    pub(crate) fn take(&mut self, copies: &BadBlocks, only_copies: bool) -> Option<Range<u64>> {
        let mut ripe = self.all.iter().take_while(|it| it.failed.is_over());
        let index = match ripe.position(|repair| repair.is_copy(copies)) {
            None if only_copies => return None,
            index => index.unwrap_or(0),
        };
        let repair = self.all.get_mut(index).filter(|it| it.failed.is_over())?;
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
    /// Whether it is a block that there are two copies of.
    fn is_copy(&self, copies: &BadBlocks) -> bool {
        copies.contains(self.blocks.start)
    }
}
