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

/// How often memory that fails during its repair is repaired.
///
/// Memory may fail again at any time. And a scrub that ends during a repair reports what it read
/// before, too: the write must not fail for that.
const ATTEMPTS: usize = 3;

impl BadMemory {
    /// Repairs all of `range` by `write`, which has the platform clear the poison and writes the
    /// range; it is called once more if a part fails meanwhile. Calls `unmark` for each page that
    /// has no bad sector any more: no failure is added during that.
    ///
    /// Waits for the end of another repair. Returns whether `range` is written: it is not if the
    /// other one has repaired all of it.
    ///
    /// # Errors
    ///
    /// - `EIO` if a part of the range fails during each of [`ATTEMPTS`], or if the range has a part
    ///   of an unlisted page: the bad part of that is not known. It stays bad.
    /// - `ENOSPC` if the range divides a bad one within a page and the list is full.
    /// - Those of `write`.
    pub(crate) fn repair(
        &self,
        range: ByteRange<space::Device>,
        write: impl Fn() -> Result,
        unmark: impl Fn(PageRange<space::Device>),
    ) -> Result<bool> {
        for _ in 0..ATTEMPTS {
            let Some(repair) = self.begin_repair(range)? else {
                return Ok(false);
            };

            write()?;
            if repair.finish(range, &unmark)? {
                return Ok(true);
            }
        }
        Err(EIO)
    }

    /// Begins the repair of all of `range`. Returns [`None`] if all of it is good.
    fn begin_repair(&self, range: ByteRange<space::Device>) -> Result<Option<Repair<'_>>> {
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
struct Repair<'a> {
    bad: &'a BadMemory,
    _lock: MutexGuard<'a, ()>,
}

impl Repair<'_> {
    /// Removes `range`, which was repaired and written, from what is bad. Returns false if a part
    /// of it has failed since the repair began: all of it stays bad.
    fn finish(
        self,
        range: ByteRange<space::Device>,
        unmark: impl Fn(PageRange<space::Device>),
    ) -> Result<bool> {
        let under_way = self.bad.under_way.lock();

        if under_way
            .as_ref()
            .is_none_or(|under_way| under_way.has_failed)
        {
            return Ok(false);
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
        Ok(true)
    }
}

impl Drop for Repair<'_> {
    fn drop(&mut self) {
        *self.bad.under_way.lock() = None;
    }
}

#[kunit_tests(daxmf_pmem_repair)]
mod tests {
    use core::cell::Cell;

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
        assert!(bad.repair(first, || Ok(()), |_| assert!(false))?);

        let unmarked = Cell::new(0);
        assert!(bad.repair(second, || Ok(()), |_| unmarked.set(unmarked.get() + 1))?);
        assert_eq!(unmarked.get(), 1);
        Ok(())
    }

    #[test]
    fn what_fails_during_a_repair_is_repaired_once_more() -> Result {
        let bad = BadMemory::new(LEN)?;
        let written = Cell::new(0);
        // Page 0 fails the first `count` times that it is written, and page 1 each time.
        let fail = |count| {
            written.set(written.get() + 1);
            bad.add_failed(page(1)?, || {});
            if written.get() <= count {
                bad.add_failed(page(0)?, || {});
            }
            Ok(())
        };

        assert!(bad.add_failed(page(0)?, || {}));
        assert!(bad.repair(page(0)?, || fail(ATTEMPTS - 1), |_| {})?);
        assert_eq!(written.get(), ATTEMPTS);
        assert_eq!(bad.first_in(page(0)?), None);
        assert_eq!(bad.first_in(page(1)?), Some(PAGE_SIZE));
        assert!(!bad.repair(page(0)?, || Err(EINVAL), |_| {})?);

        // For ever.
        written.set(0);
        assert!(bad.add_failed(page(0)?, || {}));
        let repaired = bad.repair(page(0)?, || fail(usize::MAX), |_| assert!(false));
        assert_eq!(repaired, Err(EIO));
        assert_eq!(written.get(), ATTEMPTS);
        assert_eq!(bad.first_in(page(0)?), Some(0));
        Ok(())
    }

    #[test]
    fn what_cannot_be_written_stays_bad() -> Result {
        let bad = BadMemory::new(LEN)?;

        assert!(bad.add_failed(page(0)?, || {}));
        let repaired = bad.repair(page(0)?, || Err(ENXIO), |_| assert!(false));
        assert_eq!(repaired, Err(ENXIO));
        assert_eq!(bad.first_in(page(0)?), Some(0));
        Ok(())
    }
}
