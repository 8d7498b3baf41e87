// SPDX-License-Identifier: GPL-2.0

//! What the platform knows to be bad.

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

/// What the platform is asked about, from the start of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {}

impl Space for Asked {}

impl BadMemory {
    /// Enters what the platform knows. `known` puts what it knows of a range in a list, as far as
    /// there is room, and says where that list counts from. No lock is held meanwhile. `news` is
    /// called with the pages that had no bad part before; no repair ends during that.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    /// - Those of `known`.
    pub(crate) fn populate(
        &self,
        known: impl Fn(
            ByteRange<space::Device>,
            &Badblocks<Asked>,
        ) -> Result<Window<space::Device, Asked>>,
        news: impl Fn(PageRange<space::Device>),
    ) -> Result {
        /// So little has fewer ranges, one every other sector, than a list has room for.
        const SMALL: u64 = 64 * PAGE_SIZE;

        let found = KBox::pin_init(Badblocks::new(), GFP_KERNEL)?;
        let mut len = self.range.len();
        let mut rest = Some(self.range);

        while let Some(range) = rest {
            let part = ByteRange::new(range.start(), range.len().min(len)).ok_or(ERANGE)?;
            let finished = self.finished.load(Relaxed);
            let window = known(part, &found)?;

            if found.is_full() && part.len() > SMALL {
                // Some may be left out. Ask for less.
                len = (part.len() / 2).next_multiple_of(PAGE_SIZE);
            } else if self.add_known(window, &found, finished, &news) {
                rest = ByteRange::between(part.end(), range.end());
                len = len.saturating_mul(2);
            }
            while let Some(bad) = found.first_in(ByteRange::ALL) {
                found.clear(bad)?;
            }
        }
        Ok(())
    }

    /// Adds what is in `found`, which counts from the start of `window`. Adds nothing and returns
    /// `false` if a repair has finished since `finished` was read: what it has repaired may be in
    /// `found`.
    fn add_known(
        &self,
        window: Window<space::Device, Asked>,
        found: &Badblocks<Asked>,
        finished: u64,
        news: impl Fn(PageRange<space::Device>),
    ) -> bool {
        let mut under_way = self.under_way.lock();

        if self.finished.load(Relaxed) != finished {
            return false;
        }

        let mut rest = Some(window.inner());

        while let Some(bad) = rest.and_then(|rest| found.first_in(rest)) {
            if let Some(bad) = window.outward(bad) {
                // Whether the platform has found it before or after it was asked to repair it is
                // not known.
                self.add_anew(&mut under_way, bad, &news);
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
    fn what_the_platform_finds_during_a_repair_is_repaired_once_more() -> Result {
        let bad = BadMemory::new(LEN)?;
        let written = core::cell::Cell::new(0);
        let scrub = |found| {
            written.set(written.get() + 1);
            bad.populate(
                |range, list| list.mark(page(found)?).map(|()| Window::at(range)),
                |_| {},
            )
        };

        // What it reports the first time may be older than the repair.
        assert!(bad.add_failed(page(0)?, || {}));
        assert!(bad.repair(page(0)?, || scrub(written.get()), |_| {})?);
        assert_eq!(written.get(), 2);
        assert_eq!(bad.first_in(page(0)?), None);
        assert_eq!(bad.first_in(page(1)?), Some(PAGE_SIZE));
        Ok(())
    }

    #[test]
    fn what_is_repaired_while_the_platform_is_asked_is_good() -> Result {
        let bad = BadMemory::new(LEN)?;
        let asked = core::cell::Cell::new(0);

        assert!(bad.add_failed(page(0)?, || {}));
        bad.populate(
            |range, list| {
                asked.set(asked.get() + 1);
                if asked.get() == 1 {
                    list.mark(page(0)?)?;
                    write(&bad, page(0)?)?;
                }
                Ok(Window::at(range))
            },
            |_| {},
        )?;

        assert_eq!(asked.get(), 2);
        assert_eq!(bad.first_in(page(0)?), None);
        Ok(())
    }

    #[test]
    fn all_that_the_platform_knows_is_bad() -> Result {
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
        // What is listed is known by the sector.
        assert_eq!(bad.unlisted.first_in(page(0)?.pages()), None);
        Ok(())
    }
}
