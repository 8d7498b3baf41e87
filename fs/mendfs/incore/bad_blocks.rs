// SPDX-License-Identifier: GPL-2.0

//! A sorted set of bad ranges.

use core::ops::Range;

use kernel::{
    alloc::KVVec,
    prelude::*, //
};

use crate::blocks::intersection;

/// A run of bad blocks.
#[derive(Clone, Debug)]
pub(crate) struct BadRange {
    pub(crate) blocks: Range<u64>,
    /// The address of the record of the range, if there is one. Only ranges of data have records.
    pub(crate) address: Option<u64>,
}

/// The known bad blocks, of data or of copies. They are few, so an array is enough.
pub(crate) struct BadBlocks {
    /// Sorted by their starts. They do not overlap, and are not empty.
    ranges: KVVec<BadRange>,
}

impl BadBlocks {
    pub(crate) fn new() -> Self {
        Self {
            ranges: KVVec::new(),
        }
    }

    /// The index of the first range that contains `block` or starts after it.
    fn index(&self, block: u64) -> usize {
        self.ranges
            .partition_point(|range| range.blocks.end <= block)
    }

    /// The ranges that overlap `blocks`.
    fn overlapping(&self, blocks: &Range<u64>) -> impl Iterator<Item = &BadRange> {
        let end = blocks.end;

        self.ranges
            .get(self.index(blocks.start)..)
            .unwrap_or(&[])
            .iter()
            .take_while(move |range| range.blocks.start < end)
    }

    /// The first run of bad blocks in `blocks`.
    pub(crate) fn first_in(&self, blocks: &Range<u64>) -> Option<Range<u64>> {
        self.overlapping(blocks)
            .map(|range| intersection(&range.blocks, blocks))
            .find(|part| !part.is_empty())
    }

    pub(crate) fn contains(&self, block: u64) -> bool {
        self.first_in(&(block..block.saturating_add(1))).is_some()
    }

    /// The number of ranges that overlap `blocks`.
    pub(crate) fn count_ranges(&self, blocks: &Range<u64>) -> usize {
        self.overlapping(blocks).count()
    }

    /// A run at the start of `blocks` of which all blocks are bad or all are not bad, and whether
    /// they are bad. Another bad run can follow a bad run.
    pub(crate) fn run(&self, blocks: &Range<u64>) -> (Range<u64>, bool) {
        match self.first_in(blocks) {
            Some(bad) if bad.start == blocks.start => (bad, true),
            Some(bad) => (blocks.start..bad.start, false),
            None => (blocks.clone(), false),
        }
    }

    /// Adds those of `blocks` that are not in the set yet. `address` is the address of their
    /// record; it must be [`None`] if some of `blocks` are in the set.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short. The set is unchanged then.
    pub(crate) fn add(&mut self, blocks: &Range<u64>, address: Option<u64>) -> Result {
        let gaps = self.count_ranges(blocks).saturating_add(1);
        let mut start = blocks.start;

        self.ranges.reserve(gaps, GFP_KERNEL)?;
        while start < blocks.end {
            let index = self.index(start);
            let next = self.ranges.get(index).map(|range| range.blocks.clone());
            let gap = start
                ..next
                    .as_ref()
                    .map_or(blocks.end, |n| n.start.min(blocks.end));

            start = next.map_or(blocks.end, |next| next.end);
            if !gap.is_empty() {
                self.insert(index, gap, address);
            }
        }
        Ok(())
    }

    /// Inserts a range at `index`, or extends the previous range if both have no record. The caller
    /// has reserved memory.
    fn insert(&mut self, index: usize, blocks: Range<u64>, address: Option<u64>) {
        let previous = index
            .checked_sub(1)
            .and_then(|previous| self.ranges.get_mut(previous))
            .filter(|previous| previous.blocks.end == blocks.start);

        match previous {
            Some(BadRange {
                blocks: previous,
                address: None,
            }) if address.is_none() => previous.end = blocks.end,
            _ => {
                let range = BadRange { blocks, address };
                let _ = self.ranges.insert_within_capacity(index, range);
            }
        }
    }

    /// The range that contains `block`.
    pub(crate) fn range_with(&self, block: u64) -> Option<BadRange> {
        self.overlapping(&(block..block.saturating_add(1)))
            .next()
            .cloned()
    }

    /// Reserves memory for one more range.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn reserve(&mut self) -> Result {
        Ok(self.ranges.reserve(1, GFP_KERNEL)?)
    }

    /// Replaces the range that starts at `start` with up to two parts of it. The caller has called
    /// [`reserve()`](Self::reserve).
    pub(crate) fn replace(&mut self, start: u64, parts: [Option<BadRange>; 2]) {
        let index = self.index(start);
        let _ = self.ranges.remove(index);

        for part in parts.into_iter().flatten() {
            let index = self.index(part.blocks.start);
            let _ = self.ranges.insert_within_capacity(index, part);
        }
    }

    /// The first range without a record.
    pub(crate) fn first_unrecorded(&self) -> Option<Range<u64>> {
        self.ranges
            .iter()
            .find(|range| range.address.is_none())
            .map(|range| range.blocks.clone())
    }

    /// Sets the address of the record of the range that starts at `start`.
    pub(crate) fn set_address(&mut self, start: u64, address: u64) {
        let index = self.index(start);

        if let Some(range) = self.ranges.get_mut(index) {
            range.address = Some(address);
        }
    }

    /// Removes blocks from the set. They are in one range, which has no record. The caller has
    /// called [`reserve()`](Self::reserve).
    pub(crate) fn remove(&mut self, blocks: &Range<u64>) {
        if let Some(range) = self.range_with(blocks.start) {
            let parts = range.without(blocks).map(|part| {
                let address = None;

                part.map(|blocks| BadRange { blocks, address })
            });

            self.replace(range.blocks.start, parts);
        }
    }
}

impl BadRange {
    /// The parts of the range before and after `blocks`.
    pub(crate) fn without(&self, blocks: &Range<u64>) -> [Option<Range<u64>>; 2] {
        [self.blocks.start..blocks.start, blocks.end..self.blocks.end]
            .map(|part| (!part.is_empty()).then_some(part))
    }
}
