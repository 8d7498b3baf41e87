// SPDX-License-Identifier: GPL-2.0

//! Sets of block numbers, stored as ranges.

use std::ops::Range;

/// A set of block numbers, stored as ranges.
#[derive(Default)]
pub(super) struct Runs(Vec<Range<u64>>);

impl Runs {
    /// Adds a number, which must be greater than all numbers in the set.
    pub(super) fn push(&mut self, number: u64) {
        match self.0.last_mut() {
            Some(run) if run.end == number => run.end += 1,
            _ => self.0.push(number..number + 1),
        }
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        let index = self.0.partition_point(|run| run.end <= number);

        self.0.get(index).is_some_and(|run| run.contains(&number))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> u64 {
        self.0.iter().map(|run| run.end - run.start).sum()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().cloned().flatten()
    }
}
