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
    RunningRepair, //
};

/// The number of attempts to repair a range that fails again during its repair.
///
/// Memory can fail again at any time. A scrub that ends during a repair also returns errors from
/// before the repair, and such errors must not make the write fail.
const ATTEMPTS: usize = 3;

impl BadMemory {
    /// Repairs all of `range` by `write`, which makes the platform clear the range and writes it.
    /// Calls `write` again if a part of the range fails meanwhile. Then calls `unmark` for each
    /// page that has no bad sector any more, under the lock that is needed to add a failure.
    ///
    /// Waits for the end of another repair. Returns `false`, without calling `write`, if the other
    /// repair has made all of `range` good.
    ///
    /// # Errors
    ///
    /// - `EIO` if the holder is being notified of a failure of a part of the range.
    /// - `EIO` if a part of the range fails during each of the [`ATTEMPTS`] attempts, or if the
    ///   range has only a part of an unlisted page, of which the bad sectors are not known. The
    ///   range stays bad.
    /// - `ENOSPC` if the list is full, and removing the range splits a listed one within a page.
    /// - The errors of `write`.
    pub(crate) fn repair(
        &self,
        range: ByteRange<space::Device>,
        write: impl Fn() -> Result,
        unmark: impl Fn(PageRange<space::Device>),
    ) -> Result<bool> {
        for _ in 0..ATTEMPTS {
            let Some(repair) = self.start_repair(range)? else {
                return Ok(false);
            };

            write()?;
            if repair.finish(range, &unmark)? {
                return Ok(true);
            }
        }
        Err(EIO)
    }

    /// Starts the repair of all of `range`. Returns [`None`] if all of it is good.
    ///
    /// # Errors
    ///
    /// - `EIO` if the range has only a part of an unlisted page.
    /// - The errors of [`wait_for_removals()`](Self::wait_for_removals).
    fn start_repair(&self, range: ByteRange<space::Device>) -> Result<Option<Repair<'_>>> {
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

        *self.running.lock() = Some(RunningRepair {
            range,
            has_failed: false,
        });

        let repair = Repair {
            bad: self,
            _lock: lock,
        };

        self.wait_for_removals(range)?;
        Ok(Some(repair))
    }
}

/// A running repair. If it is dropped without [`finish()`](Self::finish), its range stays bad.
struct Repair<'a> {
    bad: &'a BadMemory,
    _lock: MutexGuard<'a, ()>,
}

impl Repair<'_> {
    /// Removes `range`, which was cleared and written, from the bad ranges. Returns `false` if a
    /// part of it has failed since the start of the repair. Then all of it stays bad.
    fn finish(
        self,
        range: ByteRange<space::Device>,
        unmark: impl Fn(PageRange<space::Device>),
    ) -> Result<bool> {
        let running = self.bad.running.lock();

        if running.as_ref().is_none_or(|repair| repair.has_failed) {
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
        *self.bad.running.lock() = None;
    }
}

#[kunit_tests(daxmf_pmem_repair)]
mod tests {
    use core::cell::Cell;

    use daxmf::{
        pagemap::Removal,
        range::PAGE_SIZE, //
    };
    use kernel::time::{
        Instant,
        Monotonic, //
    };

    use super::*;

    const LEN: u64 = 1 << 30;

    fn page(number: u64) -> Result<ByteRange<space::Device>> {
        ByteRange::new(number * PAGE_SIZE, PAGE_SIZE).ok_or(EINVAL)
    }

    #[test]
    fn page_is_unmarked_with_its_last_bad_sector() -> Result {
        let bad = BadMemory::new(LEN)?;
        let first = ByteRange::new(0, 512).ok_or(EINVAL)?;
        let second = ByteRange::new(1024, 512).ok_or(EINVAL)?;

        assert!(bad.add_failed(first, false, || {}) && bad.add_failed(second, false, || {}));
        assert!(bad.repair(first, || Ok(()), |_| assert!(false))?);

        let unmarked = Cell::new(0);
        assert!(bad.repair(second, || Ok(()), |_| unmarked.set(unmarked.get() + 1))?);
        assert_eq!(unmarked.get(), 1);
        Ok(())
    }

    #[test]
    fn failure_during_a_repair_is_repaired_again() -> Result {
        let bad = BadMemory::new(LEN)?;
        let written = Cell::new(0);
        // Page 0 fails the first `count` times that it is written, and page 1 each time.
        let fail = |count| {
            written.set(written.get() + 1);
            bad.add_failed(page(1)?, false, || {});
            if written.get() <= count {
                bad.add_failed(page(0)?, false, || {});
            }
            Ok(())
        };

        assert!(bad.add_failed(page(0)?, false, || {}));
        assert!(bad.repair(page(0)?, || fail(ATTEMPTS - 1), |_| {})?);
        assert_eq!(written.get(), ATTEMPTS);
        assert_eq!(bad.first_in(page(0)?), None);
        assert_eq!(bad.first_in(page(1)?), Some(PAGE_SIZE));
        assert!(!bad.repair(page(0)?, || Err(EINVAL), |_| {})?);

        // Page 0 fails in each attempt.
        written.set(0);
        assert!(bad.add_failed(page(0)?, false, || {}));
        let repaired = bad.repair(page(0)?, || fail(usize::MAX), |_| assert!(false));
        assert_eq!(repaired, Err(EIO));
        assert_eq!(written.get(), ATTEMPTS);
        assert_eq!(bad.first_in(page(0)?), Some(0));
        Ok(())
    }

    #[test]
    fn repair_waits_for_the_machine_check_handler() -> Result {
        let bad = BadMemory::new(LEN)?;
        let failed = Instant::<Monotonic>::now();
        let write = || {
            assert!(failed.elapsed() >= Removal::TIME);
            Ok(())
        };

        assert!(bad.add_failed(page(0)?, true, || {}));
        bad.end_notification();
        assert!(bad.repair(page(0)?, write, |_| {})?);
        Ok(())
    }

    #[test]
    fn repair_fails_during_the_notification() -> Result {
        let bad = BadMemory::new(LEN)?;

        assert!(bad.add_failed(page(0)?, true, || {}));
        assert!(bad.add_failed(page(1)?, false, || {}));
        let repaired = bad.repair(page(0)?, || Ok(()), |_| assert!(false));
        assert_eq!(repaired, Err(EIO));
        assert!(bad.repair(page(1)?, || Ok(()), |_| {})?);
        bad.end_notification();
        assert!(bad.repair(page(0)?, || Ok(()), |_| {})?);
        Ok(())
    }

    #[test]
    fn range_stays_bad_when_the_write_fails() -> Result {
        let bad = BadMemory::new(LEN)?;

        assert!(bad.add_failed(page(0)?, false, || {}));
        let repaired = bad.repair(page(0)?, || Err(ENXIO), |_| assert!(false));
        assert_eq!(repaired, Err(ENXIO));
        assert_eq!(bad.first_in(page(0)?), Some(0));
        Ok(())
    }
}
