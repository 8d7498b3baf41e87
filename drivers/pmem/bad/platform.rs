// SPDX-License-Identifier: GPL-2.0

//! Adds the bad ranges that a query of the platform returns.

use daxmf::{
    badblocks::Badblocks,
    range::{
        space,
        ByteRange,
        PageRange,
        Space,
        Window,
        PAGE_SIZE, //
    },
};
use kernel::{
    prelude::*,
    sync::atomic::Relaxed, //
};

use super::BadMemory;

/// The space of a query of the platform: bytes, counted from the start of the range of the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Query {}

impl Space for Query {}

impl BadMemory {
    /// Adds the bad ranges of the platform.
    ///
    /// `query` asks the platform for the bad parts of a range and adds them to a list, as far as
    /// the list has room. It returns the range that the list's offsets count from. It is called
    /// without a lock.
    ///
    /// `newly_bad` is called with each run of pages that had no bad part, under the lock that a
    /// repair takes to finish.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    /// - The errors of `query`.
    pub(crate) fn populate(
        &self,
        query: impl Fn(
            ByteRange<space::Device>,
            &Badblocks<Query>,
        ) -> Result<Window<space::Device, Query>>,
        newly_bad: impl Fn(PageRange<space::Device>),
    ) -> Result {
        /// Size in bytes of a range whose bad ranges always fit a list: there are at most 256, one
        /// in every other sector, and a list has room for 512.
        const SMALL: u64 = 64 * PAGE_SIZE;

        let found = KBox::pin_init(Badblocks::new(), GFP_KERNEL)?;
        let mut len = self.range.len();
        let mut rest = Some(self.range);

        while let Some(range) = rest {
            let part = ByteRange::new(range.start(), range.len().min(len)).ok_or(ERANGE)?;
            let finished = self.finished.load(Relaxed);
            let window = query(part, &found)?;

            if found.is_full() && part.len() > SMALL {
                // The list can lack some ranges: query a smaller part.
                len = (part.len() / 2).next_multiple_of(PAGE_SIZE);
            } else if self.add_queried(window, &found, finished, &newly_bad) {
                rest = ByteRange::between(part.end(), range.end());
                len = len.saturating_mul(2);
            }
            while let Some(bad) = found.first_in(ByteRange::ALL) {
                found.clear(bad)?;
            }
        }
        Ok(())
    }

    /// Adds the ranges of `found`, whose offsets count from the start of `window`. Adds nothing and
    /// returns `false` if a repair has finished since `finished` was read, because `found` can have
    /// a range from before that repair.
    fn add_queried(
        &self,
        window: Window<space::Device, Query>,
        found: &Badblocks<Query>,
        finished: u64,
        newly_bad: impl Fn(PageRange<space::Device>),
    ) -> bool {
        let mut running = self.running.lock();

        if self.finished.load(Relaxed) != finished {
            return false;
        }

        let mut rest = Some(window.inner());

        while let Some(bad) = rest.and_then(|rest| found.first_in(rest)) {
            if let Some(bad) = window.outward(bad) {
                // The platform can have found the error before or after the running repair cleared
                // it. So it counts as a failure during that repair.
                self.add_found_locked(&mut running, bad, &newly_bad);
            }
            rest = ByteRange::between(bad.end(), window.inner().end());
        }
        true
    }
}

#[kunit_tests(daxmf_pmem_platform)]
mod tests {
    use super::*;

    const LEN: u64 = 1 << 30;

    fn page<S: Space>(number: u64) -> Result<ByteRange<S>> {
        ByteRange::new(number * PAGE_SIZE, PAGE_SIZE).ok_or(EINVAL)
    }

    fn write(bad: &BadMemory, range: ByteRange<space::Device>) -> Result {
        bad.repair(range, || Ok(()), |_| {})?
            .then_some(())
            .ok_or(EINVAL)
    }

    #[test]
    fn error_found_during_a_repair_is_repaired_again() -> Result {
        let bad = BadMemory::new(LEN)?;
        let written = core::cell::Cell::new(0);
        let scrub = |found| {
            written.set(written.get() + 1);
            bad.populate(
                |range, list| list.mark(page(found)?).map(|()| Window::at(range)),
                |_| {},
            )
        };

        // The first query returns an error in page 0, which can be older than the repair.
        assert!(bad.add_failed(page(0)?, false, || {}));
        assert!(bad.repair(page(0)?, || scrub(written.get()), |_| {})?);
        assert_eq!(written.get(), 2);
        assert_eq!(bad.first_in(page(0)?), None);
        assert_eq!(bad.first_in(page(1)?), Some(PAGE_SIZE));
        Ok(())
    }

    #[test]
    fn range_repaired_during_a_query_is_good() -> Result {
        let bad = BadMemory::new(LEN)?;
        let queries = core::cell::Cell::new(0);

        assert!(bad.add_failed(page(0)?, false, || {}));
        bad.populate(
            |range, list| {
                queries.set(queries.get() + 1);
                if queries.get() == 1 {
                    list.mark(page(0)?)?;
                    write(&bad, page(0)?)?;
                }
                Ok(Window::at(range))
            },
            |_| {},
        )?;

        assert_eq!(queries.get(), 2);
        assert_eq!(bad.first_in(page(0)?), None);
        Ok(())
    }

    #[test]
    fn all_errors_of_the_platform_are_added() -> Result {
        const EVERY: u64 = 24;
        let bad = BadMemory::new(LEN)?;

        // One sector in every third page of the first 32 MiB, and the very last sector.
        bad.populate(
            |range, list| {
                let (first, count) = range.sectors();
                let every = (0..32 << 11).step_by(EVERY as usize);
                let all = Iterator::chain(every, [(LEN >> 9) - 1]);

                for sector in all.filter(|sector| (first..first + count).contains(sector)) {
                    let sector = ByteRange::new((sector - first) << 9, 512).ok_or(EINVAL)?;

                    let _ = list.mark(sector);
                }
                Ok(Window::at(range))
            },
            |_| {},
        )?;

        for number in (0..(32 << 20) / PAGE_SIZE).step_by(3) {
            assert_eq!(bad.first_in(page(number)?), Some(number * PAGE_SIZE));
            assert_eq!(bad.first_in(page(number + 1)?), None);
            assert_eq!(bad.first_in(page(number + 2)?), None);
        }
        assert!(bad.first_in(page(LEN / PAGE_SIZE - 1)?).is_some());
        assert_eq!(bad.first_in(page(LEN / PAGE_SIZE - 2)?), None);
        // All ranges are in the list, which is exact to the sector.
        assert_eq!(bad.unlisted.first_in(page(0)?.pages()), None);
        Ok(())
    }
}
