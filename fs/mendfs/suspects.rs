// SPDX-License-Identifier: GPL-2.0

//! Bad blocks that are to be mended.

use core::ops::Range;

use daxmf::fs::FailedAt;
use kernel::{
    alloc::KVVec,
    prelude::*, //
};

use crate::{
    bad::Bad,
    contents::common, //
};

/// How many blocks are mended before others get the lock.
const MAX_MENDED: u64 = 64;

struct Suspect {
    blocks: Range<u64>,
    failed: FailedAt,
}

/// Bad blocks to mend, that no file has, each with the time at which it failed last. `copies` are
/// those bad blocks that there are two copies of.
pub(crate) struct Suspects {
    /// By these times.
    all: KVVec<Suspect>,
}

impl Suspects {
    pub(crate) fn new() -> Self {
        Self { all: KVVec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether some of `copies` are to be mended.
    pub(crate) fn has_copies(&self, copies: &Bad) -> bool {
        self.all.iter().any(|suspect| suspect.is_copy(copies))
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

        let _ = self.all.push_within_capacity(Suspect { blocks, failed });
    }

    /// Notes that blocks fail at this moment. Those of them that are to be mended wait anew, and
    /// nobody else does.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short. Then some wait no longer than before.
    pub(crate) fn fail_again(&mut self, bad: &Range<u64>) -> Result {
        for index in (0..self.all.len()).rev() {
            let is_one = |suspect: &Suspect| !common(&suspect.blocks, bad).is_empty();

            if !self.all.get(index).is_some_and(is_one) {
                continue;
            }
            // Three come in the place of one.
            self.reserve(2)?;
            if let Ok(Suspect { blocks, failed }) = self.all.remove(index) {
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
                .insert_within_capacity(index, Suspect { blocks, failed });
        }
    }

    /// Takes some blocks that can be mended: `copies` first, without which the others cannot come
    /// back, and no others if `only_copies`.
    pub(crate) fn take(&mut self, copies: &Bad, only_copies: bool) -> Option<Range<u64>> {
        let mut ripe = self.all.iter().take_while(|it| it.failed.is_over());
        let index = match ripe.position(|suspect| suspect.is_copy(copies)) {
            None if only_copies => return None,
            index => index.unwrap_or(0),
        };
        let suspect = self.all.get_mut(index).filter(|it| it.failed.is_over())?;
        let start = suspect.blocks.start;
        let end = suspect.blocks.end.min(start.saturating_add(MAX_MENDED));

        suspect.blocks.start = end;
        if suspect.blocks.is_empty() {
            let _ = self.all.remove(index);
        }
        Some(start..end)
    }
}

impl Suspect {
    /// Whether it is a block that there are two copies of.
    fn is_copy(&self, copies: &Bad) -> bool {
        copies.contains(self.blocks.start)
    }
}
