// SPDX-License-Identifier: GPL-2.0

//! Repairs of bad memory.

use daxmf::range::{
    space,
    ByteRange,
    PageRange, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::Relaxed,
        MutexGuard, //
    },
};

use super::{
    BadMemory,
    UnderWay, //
};

impl BadMemory {
    /// Begins the repair of all of `range`. Waits for the end of another repair. Returns [`None`]
    /// if that has repaired all of `range`.
    ///
    /// # Errors
    ///
    /// - `EIO` if `range` has a part of an unlisted page: the bad part of that is not known.
    pub(crate) fn repair(&self, range: ByteRange<space::Device>) -> Result<Option<Repair<'_>>> {
        let lock = self.repair.lock();

        if self.first_in(range).is_none() {
            return Ok(None);
        }
        for page in [range.start(), range.end().saturating_sub(1)] {
            let page = ByteRange::new(page, 1).ok_or(ERANGE)?.pages();
            let is_whole = page.bytes().is_some_and(|bytes| range.contains(bytes));

            if !is_whole && self.unlisted.first_in(page).is_some() {
                return Err(EIO);
            }
        }

        *self.under_way.lock() = Some(UnderWay {
            range,
            has_failed: false,
        });
        Ok(Some(Repair {
            bad: self,
            _lock: lock,
        }))
    }
}

/// A repair. When dropped without [`finish()`](Self::finish), its range stays bad.
pub(crate) struct Repair<'a> {
    bad: &'a BadMemory,
    _lock: MutexGuard<'a, ()>,
}

impl Repair<'_> {
    /// Removes `range`, which was repaired and written, from what is bad. Calls `unmark` for each
    /// page that has no bad sector any more. No failure is added meanwhile.
    ///
    /// # Errors
    ///
    /// - `EIO` if a part of the range has failed since the repair began.
    /// - `ENOSPC` if the range divides a bad one within a page and the list is full.
    pub(crate) fn finish(
        self,
        range: ByteRange<space::Device>,
        unmark: impl Fn(PageRange<space::Device>),
    ) -> Result {
        let under_way = self.bad.under_way.lock();

        if under_way
            .as_ref()
            .is_none_or(|under_way| under_way.has_failed)
        {
            return Err(EIO);
        }
        self.bad.finished.fetch_add(1, Relaxed);
        self.bad.remove(range)?;

        let pages = range.pages();

        for page in (pages.start()..pages.end()).filter_map(|page| PageRange::new(page, 1)) {
            if page
                .bytes()
                .is_some_and(|bytes| self.bad.first_in(bytes).is_none())
            {
                unmark(page);
            }
        }
        Ok(())
    }
}

impl Drop for Repair<'_> {
    fn drop(&mut self) {
        *self.bad.under_way.lock() = None;
    }
}

#[kunit_tests(daxmf_pmem_repair)]
mod tests {
    use daxmf::range::PAGE_SIZE;

    use super::*;

    const LEN: u64 = 1 << 30;

    fn page(number: u64) -> Result<ByteRange<space::Device>> {
        ByteRange::new(number * PAGE_SIZE, PAGE_SIZE).ok_or(EINVAL)
    }

    #[test]
    fn a_page_is_good_when_its_last_sector_is() -> Result {
        let bad = BadMemory::new(LEN)?;
        let first = ByteRange::new(0, 512).ok_or(EINVAL)?;
        let second = ByteRange::new(1024, 512).ok_or(EINVAL)?;

        assert!(bad.add_failed(first, || {}) && bad.add_failed(second, || {}));
        bad.repair(first)?
            .ok_or(EINVAL)?
            .finish(first, |_| assert!(false))?;

        let unmarked = core::cell::Cell::new(0);
        bad.repair(second)?
            .ok_or(EINVAL)?
            .finish(second, |_| unmarked.set(unmarked.get() + 1))?;
        assert_eq!(unmarked.get(), 1);
        Ok(())
    }

    #[test]
    fn what_fails_during_a_repair_stays_bad() -> Result {
        let bad = BadMemory::new(LEN)?;

        assert!(bad.add_failed(page(0)?, || {}) && bad.add_failed(page(1)?, || {}));

        let repair = bad.repair(page(0)?)?.ok_or(EINVAL)?;
        assert!(bad.add_failed(page(0)?, || {}));
        assert_eq!(repair.finish(page(0)?, |_| assert!(false)), Err(EIO));
        assert_eq!(bad.first_in(page(0)?), Some(0));

        let repair = bad.repair(page(0)?)?.ok_or(EINVAL)?;
        assert!(bad.add_failed(page(1)?, || {}));
        repair.finish(page(0)?, |_| {})?;
        assert_eq!(bad.first_in(page(0)?), None);
        assert!(bad.repair(page(0)?)?.is_none());
        Ok(())
    }
}
