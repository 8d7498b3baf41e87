// SPDX-License-Identifier: GPL-2.0

//! Bad blocks, in order.

use core::ops::Range;

use kernel::{
    alloc::KVVec,
    prelude::*, //
};

use crate::blocks::common;

/// Bad blocks in a row.
#[derive(Clone, Debug)]
pub(crate) struct BadRange {
    pub(crate) blocks: Range<u64>,
    /// The address of its record, if it has one. Only data has.
    pub(crate) address: Option<u64>,
}

/// The bad blocks that are known, of data or of anything else. There are few, if any.
pub(crate) struct BadBlocks {
    /// By their starts; they do not overlap, and are not empty.
    ranges: KVVec<BadRange>,
}

impl BadBlocks {
    pub(crate) fn new() -> Self {
        Self {
            ranges: KVVec::new(),
        }
    }

    /// The index of the first range that ends behind `block`.
    fn index(&self, block: u64) -> usize {
        self.ranges
            .partition_point(|range| range.blocks.end <= block)
    }

    /// The ranges that have some of `blocks`.
    fn touching(&self, blocks: &Range<u64>) -> impl Iterator<Item = &BadRange> {
        let end = blocks.end;

        self.ranges
            .get(self.index(blocks.start)..)
            .unwrap_or(&[])
            .iter()
            .take_while(move |range| range.blocks.start < end)
    }

    /// The first of `blocks` in a row that are bad.
    pub(crate) fn first_in(&self, blocks: &Range<u64>) -> Option<Range<u64>> {
        self.touching(blocks)
            .map(|range| common(&range.blocks, blocks))
            .find(|part| !part.is_empty())
    }

    pub(crate) fn contains(&self, block: u64) -> bool {
        self.first_in(&(block..block.saturating_add(1))).is_some()
    }

    /// How many ranges have some of `blocks`.
    pub(crate) fn count(&self, blocks: &Range<u64>) -> usize {
        self.touching(blocks).count()
    }

    /// The first part of `blocks` that is bad, or is not, and whether it is.
    pub(crate) fn run(&self, blocks: &Range<u64>) -> (Range<u64>, bool) {
        match self.first_in(blocks) {
            Some(bad) if bad.start == blocks.start => (bad, true),
            Some(bad) => (blocks.start..bad.start, false),
            None => (blocks.clone(), false),
        }
    }

    /// Adds those of some blocks that are not bad already, in ranges of their own. They may have a
    /// record if none is.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short. Nothing is added then.
    pub(crate) fn add(&mut self, blocks: &Range<u64>, address: Option<u64>) -> Result {
        let gaps = self.count(blocks).saturating_add(1);
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

    /// Inserts a range before the one of this index. There is room for it.
    fn insert(&mut self, index: usize, blocks: Range<u64>, address: Option<u64>) {
        let before = index
            .checked_sub(1)
            .and_then(|before| self.ranges.get_mut(before))
            .filter(|before| before.blocks.end == blocks.start);

        match before {
            Some(BadRange {
                blocks: before,
                address: None,
            }) if address.is_none() => before.end = blocks.end,
            _ => {
                let range = BadRange { blocks, address };
                let _ = self.ranges.insert_within_capacity(index, range);
            }
        }
    }

    /// The range that `block` is in.
    pub(crate) fn around(&self, block: u64) -> Option<BadRange> {
        self.touching(&(block..block.saturating_add(1)))
            .next()
            .cloned()
    }

    /// Makes room for one more range.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn reserve(&mut self) -> Result {
        Ok(self.ranges.reserve(1, GFP_KERNEL)?)
    }

    /// Puts up to two ranges in the place of the one that starts at `start`, of which they are
    /// parts. [`reserve()`](Self::reserve) has been called.
    pub(crate) fn replace(&mut self, start: u64, parts: [Option<BadRange>; 2]) {
        let index = self.index(start);
        let _ = self.ranges.remove(index);

        for part in parts.into_iter().flatten() {
            let index = self.index(part.blocks.start);
            let _ = self.ranges.insert_within_capacity(index, part);
        }
    }

    /// The first range that has no record.
    pub(crate) fn first_unrecorded(&self) -> Option<Range<u64>> {
        self.ranges
            .iter()
            .find(|range| range.address.is_none())
            .map(|range| range.blocks.clone())
    }

    /// Says where the record of the range that starts at `start` is.
    pub(crate) fn set_address(&mut self, start: u64, address: u64) {
        let index = self.index(start);

        if let Some(range) = self.ranges.get_mut(index) {
            range.address = Some(address);
        }
    }

    /// Takes blocks of one range from the bad ones; the range has no record.
    /// [`reserve()`](Self::reserve) has been called.
    pub(crate) fn remove(&mut self, blocks: &Range<u64>) {
        if let Some(range) = self.around(blocks.start) {
            let parts = range.without(blocks).map(|part| {
                let address = None;

                part.map(|blocks| BadRange { blocks, address })
            });

            self.replace(range.blocks.start, parts);
        }
    }
}

impl BadRange {
    /// What is left of it before and behind some of its blocks.
    pub(crate) fn without(&self, blocks: &Range<u64>) -> [Option<Range<u64>>; 2] {
        [self.blocks.start..blocks.start, blocks.end..self.blocks.end]
            .map(|part| (!part.is_empty()).then_some(part))
    }
}
