// SPDX-License-Identifier: GPL-2.0

//! The blocks for data that no file has.

use core::ops::Range;

use daxmf::range::PAGE_SIZE;
use kernel::{
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    },
};

/// Blocks that a huge page maps.
pub(crate) const HUGE: u64 = 512;

const _: () = assert!(HUGE * PAGE_SIZE == 2 << 20);

/// Free blocks of the device.
///
/// What [`take()`](Self::take) has taken is given back by the next [`begin()`](Self::begin) unless
/// it was kept.
pub(crate) struct Space {
    /// Free ranges by their start, with their lengths.
    ranges: RBTree<u64, u64>,
    free: u64,
    taken: KVec<Range<u64>>,
    /// Where the search goes on if nobody wishes otherwise.
    next: u64,
    nodes: KVec<RBTreeNodeReservation<u64, u64>>,
}

impl Space {
    pub(crate) fn new() -> Self {
        Self {
            ranges: RBTree::new(),
            free: 0,
            taken: KVec::new(),
            next: 0,
            nodes: KVec::new(),
        }
    }

    /// Number of free blocks.
    pub(crate) fn free(&self) -> u64 {
        self.free
    }

    /// Makes sure that `count` ranges can be given back without an allocation.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn reserve(&mut self, count: usize) -> Result {
        // What was taken may come back, too.
        while self.nodes.len() < count.saturating_add(self.taken.len()) {
            self.nodes
                .push(RBTreeNodeReservation::new(GFP_KERNEL)?, GFP_KERNEL)?;
        }
        Ok(())
    }

    /// Gives back what was taken since the last [`keep()`](Self::keep).
    pub(crate) fn begin(&mut self) {
        while let Some(range) = self.taken.pop() {
            self.give(range);
        }
    }

    /// Keeps what was taken.
    pub(crate) fn keep(&mut self) {
        self.taken.clear();
    }

    /// Takes up to `count` blocks in a row, from `goal` on if that is free. If `align`, the first
    /// is aligned as a huge page is, as far as there are such blocks.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if there is none.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn take(&mut self, count: u64, goal: u64, align: bool) -> Result<Range<u64>> {
        let found = self
            .find_aligned(count, goal, align)
            .or_else(|| self.find(count, goal))
            .ok_or(ENOSPC)?;

        self.taken.reserve(1, GFP_KERNEL)?;
        self.reserve(2)?;
        self.cut(found.clone());
        self.next = found.end;
        let _ = self.taken.push_within_capacity(found.clone());
        Ok(found)
    }

    /// The free range that `block` is in, or the first one behind it.
    fn at_or_behind(&self, block: u64) -> Option<Range<u64>> {
        if let Some(range) = self.around(block) {
            return Some(range);
        }
        let cursor = self.ranges.cursor_lower_bound(&block)?;
        let (start, len) = cursor.current();

        Some(*start..start.saturating_add(*len))
    }

    /// The free range that `block` is in.
    fn around(&self, block: u64) -> Option<Range<u64>> {
        self.before(block.saturating_add(1))
            .filter(|range| range.contains(&block))
    }

    /// The last free range that starts before `block`.
    fn before(&self, block: u64) -> Option<Range<u64>> {
        let (start, len) = match self.ranges.cursor_lower_bound(&block) {
            Some(cursor) => cursor.peek_prev().map(|(start, len)| (*start, *len))?,
            None => {
                let cursor = self.ranges.cursor_back()?;
                let (start, len) = cursor.current();

                (*start, *len)
            }
        };

        Some(start..start.saturating_add(len))
    }

    fn find(&self, count: u64, goal: u64) -> Option<Range<u64>> {
        // What follows the goal makes an extent longer; else go on where the last search ended, so
        // that it does not see the same small ranges again.
        let (start, range) = match self.around(goal) {
            Some(range) => (goal, range),
            None => {
                let range = self
                    .at_or_behind(self.next)
                    .or_else(|| self.at_or_behind(0))?;

                (
                    range.start.max(self.next.min(range.end.saturating_sub(1))),
                    range,
                )
            }
        };
        let start = if range.contains(&start) {
            start
        } else {
            range.start
        };

        Some(start..range.end.min(start.saturating_add(count)))
    }

    fn find_aligned(&self, count: u64, goal: u64, align: bool) -> Option<Range<u64>> {
        if !align || count < HUGE {
            return None;
        }

        [goal, self.next, 0]
            .into_iter()
            .find_map(|from| self.find_aligned_from(count, from))
    }

    fn find_aligned_from(&self, count: u64, from: u64) -> Option<Range<u64>> {
        let mut free = self.at_or_behind(from)?;

        loop {
            let aligned = free.start.max(from).checked_next_multiple_of(HUGE)?;

            if aligned.saturating_add(HUGE) <= free.end {
                return Some(aligned..free.end.min(aligned.saturating_add(count)));
            }
            free = self.at_or_behind(free.end)?;
        }
    }

    /// Takes what is free of some blocks away, because it is bad. Returns the first such range.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn retire(&mut self, blocks: &Range<u64>) -> Result<Option<Range<u64>>> {
        let found = self
            .at_or_behind(blocks.start)
            .map(|free| free.start.max(blocks.start)..free.end.min(blocks.end))
            .filter(|free| !free.is_empty());

        if let Some(free) = &found {
            self.reserve(2)?;
            self.cut(free.clone());
        }
        Ok(found)
    }

    /// Takes a range out of the free one that it lies in.
    fn cut(&mut self, range: Range<u64>) {
        let Some(around) = self.around(range.start) else {
            return;
        };

        self.remove(around.start);
        self.insert(around.start..range.start);
        self.insert(range.end..around.end);
    }

    fn remove(&mut self, start: u64) {
        let len = self.ranges.get(&start).copied().unwrap_or(0);
        let Some(node) = self.ranges.remove_node(&start) else {
            return;
        };

        self.free = self.free.saturating_sub(len);
        // Without room for it, it is freed.
        let _ = self.nodes.push_within_capacity(node.into_reservation());
    }

    fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let len = range.end.saturating_sub(range.start);

        // `reserve()` has been called; a range that finds no node is lost until the next mount.
        match self.nodes.pop() {
            Some(node) => {
                self.ranges.insert(node.into_node(range.start, len));
                self.free = self.free.saturating_add(len);
            }
            None => pr_warn!(
                "blocks {:#x}..{:#x} are lost until the next mount\n",
                range.start,
                range.end
            ),
        }
    }

    /// Gives back those of some blocks that are not free already. [`reserve()`](Self::reserve) has
    /// been called for them.
    pub(crate) fn give_once(&mut self, range: Range<u64>) {
        let mut start = range.start;

        while start < range.end {
            let free = self.at_or_behind(start);
            let end = free
                .as_ref()
                .map_or(range.end, |free| free.start.min(range.end));

            if start < end {
                self.give(start..end);
            }
            start = match free {
                Some(free) => free.end,
                None => range.end,
            };
        }
    }

    /// Gives blocks back. [`reserve()`](Self::reserve) has been called for them.
    pub(crate) fn give(&mut self, range: Range<u64>) {
        let mut merged = range.clone();

        if let Some(before) = self.before(range.start).filter(|it| it.end == range.start) {
            merged.start = before.start;
            self.remove(before.start);
        }
        if let Some(behind) = self.around(range.end) {
            merged.end = behind.end;
            self.remove(behind.start);
        }
        self.insert(merged);
    }
}
