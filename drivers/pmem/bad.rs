// SPDX-License-Identifier: GPL-2.0

//! What is bad of the memory of a namespace.

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
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        new_mutex,
        Arc,
        Mutex,
        MutexGuard, //
    },
};

use crate::page_set::PageSet;

/// What the platform is asked about, from the start of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {}

impl Space for Asked {}

/// What is bad of the memory of a namespace.
///
/// The disk's list of bad blocks shows it, but has room for 512 ranges only. A range that finds
/// none is kept by page, and listed when there is room. It is as bad as what is listed.
#[pin_data]
pub(crate) struct BadMemory {
    range: ByteRange<space::Device>,
    list: Arc<Badblocks>,
    unlisted: PageSet,
    /// One repair runs at a time.
    #[pin]
    repair: Mutex<()>,
    /// The range that a repair is for. Protects each change of what is bad.
    #[pin]
    under_way: Mutex<Option<UnderWay>>,
    /// The number of repairs that have finished. Changes with `under_way` locked.
    finished: Atomic<u64>,
}

/// The range of a repair.
struct UnderWay {
    range: ByteRange<space::Device>,
    /// Whether a part of it has failed since the repair began.
    has_failed: bool,
}

impl UnderWay {
    /// Notes that `range` has failed.
    fn fail(under_way: &mut Option<Self>, range: ByteRange<space::Device>) {
        if let Some(repair) = under_way {
            repair.has_failed |= repair.range.clip(range).is_some();
        }
    }
}

impl BadMemory {
    /// Prepares for the memory of a namespace of `len` bytes, all of which is good.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn new(len: u64) -> Result<Arc<Self>> {
        let range = ByteRange::new(0, len).ok_or(EINVAL)?;
        let list = Arc::pin_init(Badblocks::new(), GFP_KERNEL)?;
        let unlisted = PageSet::new(range.pages().len())?;

        Arc::pin_init(
            pin_init!(Self {
                range,
                list,
                unlisted,
                repair <- new_mutex!(()),
                under_way <- new_mutex!(None),
                finished: Atomic::new(0),
            }),
            GFP_KERNEL,
        )
    }

    /// The list that the disk shows.
    pub(crate) fn list(&self) -> &Arc<Badblocks> {
        &self.list
    }

    /// Whether nothing is bad, at this moment. This takes no lock.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty() && self.unlisted.is_empty()
    }

    /// The first bad byte of `range`.
    #[inline]
    pub(crate) fn first_in(&self, range: ByteRange<space::Device>) -> Option<u64> {
        if self.is_empty() {
            return None;
        }

        self.lookup(range)
    }

    fn lookup(&self, range: ByteRange<space::Device>) -> Option<u64> {
        let listed = self.list.first_in(range).map(ByteRange::start);
        let unlisted = self
            .unlisted
            .first_in(range.pages())
            .and_then(PageRange::bytes)
            .and_then(|bad| bad.clip(range))
            .map(ByteRange::start);

        [listed, unlisted].into_iter().flatten().min()
    }

    /// Adds `range`, which has failed, and calls `mark`. No repair ends meanwhile.
    ///
    /// Returns whether the list has it.
    pub(crate) fn add_failed(&self, range: ByteRange<space::Device>, mark: impl FnOnce()) -> bool {
        let mut under_way = self.under_way.lock();

        UnderWay::fail(&mut under_way, range);
        mark();
        self.add(range)
    }

    fn add(&self, range: ByteRange<space::Device>) -> bool {
        // A full list takes nothing, not even what it has.
        let is_listed = self.is_listed(range) || self.list.mark(range).is_ok();

        if !is_listed {
            self.unlisted.add(range.pages());
        }
        is_listed
    }

    /// Whether all of `range` is in the list.
    fn is_listed(&self, range: ByteRange<space::Device>) -> bool {
        let mut rest = Some(range);

        while let Some(part) = rest {
            match self.list.first_in(part) {
                Some(bad) if bad.start() == part.start() => {
                    rest = ByteRange::between(bad.end(), part.end());
                }
                _ => return false,
            }
        }
        true
    }

    /// Enters what the platform knows. `known` puts what it knows of a range in a list, as far as
    /// there is room, and says where that list counts from. No lock is held meanwhile.
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
            } else if self.add_found(window, &found, finished) {
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
    fn add_found(
        &self,
        window: Window<space::Device, Asked>,
        found: &Badblocks<Asked>,
        finished: u64,
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
                UnderWay::fail(&mut under_way, bad);
                self.add(bad);
            }
            rest = ByteRange::between(bad.end(), window.inner().end());
        }
        true
    }

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

    /// Removes `range` from what is bad.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if the range divides a listed one within a page and the list is full. It stays
    ///   bad then.
    fn remove(&self, range: ByteRange<space::Device>) -> Result {
        if let Err(error) = self.list.clear(range) {
            self.list.clear(self.with_rest(range).ok_or(error)?)?;
        }
        if let Some(pages) = whole_pages(range) {
            self.unlisted.remove(pages);
        }

        // There may be room now.
        while let Some(bad) = self
            .unlisted
            .first_in(self.range.pages())
            .and_then(PageRange::bytes)
        {
            if self.list.mark(bad).is_err() {
                break;
            }
            self.unlisted.remove(bad.pages());
        }
        Ok(())
    }

    /// `range` with the listed range that follows it, which is kept by page from now on.
    fn with_rest(&self, range: ByteRange<space::Device>) -> Option<ByteRange<space::Device>> {
        let behind = ByteRange::between(range.end(), self.range.end())?;
        let rest = self.list.first_in(behind)?;

        if rest.start() != range.end() || rest.start() % PAGE_SIZE != 0 {
            return None;
        }
        self.unlisted.add(rest.pages());
        ByteRange::between(range.start(), rest.end())
    }
}

/// The pages all of whose bytes lie in `range`.
fn whole_pages(range: ByteRange<space::Device>) -> Option<PageRange<space::Device>> {
    let first = range.start().div_ceil(PAGE_SIZE);

    PageRange::between(first, range.end() / PAGE_SIZE)
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

#[kunit_tests(daxmf_pmem_bad)]
mod tests {
    use super::*;

    const LEN: u64 = 1 << 30;

    fn page<S: Space>(number: u64) -> Result<ByteRange<S>> {
        ByteRange::new(number * PAGE_SIZE, PAGE_SIZE).ok_or(EINVAL)
    }

    /// Fills the list, from page 1000 on.
    fn fill(bad: &BadMemory) -> Result {
        let mut number = 1000;

        while !bad.list.is_full() {
            assert!(bad.add_failed(page(number)?, || {}));
            number += 2;
        }
        Ok(())
    }

    fn write(bad: &BadMemory, range: ByteRange<space::Device>) -> Result {
        bad.repair(range)?.ok_or(EINVAL)?.finish(range, |_| {})
    }

    #[test]
    fn nothing_is_lost_when_the_list_is_full() -> Result {
        let bad = BadMemory::new(LEN)?;

        fill(&bad)?;
        assert!(!bad.add_failed(page(7)?, || {}));
        assert!(!bad.add_failed(page(9)?, || {}));
        assert_eq!(bad.first_in(page(7)?), Some(7 * PAGE_SIZE));
        assert_eq!(bad.first_in(page(8)?), None);
        assert_eq!(
            bad.first_in(ByteRange::new(0, LEN).ok_or(EINVAL)?),
            Some(7 * PAGE_SIZE)
        );

        // Nobody knows which part of the page is bad.
        let part = ByteRange::new(7 * PAGE_SIZE, 512).ok_or(EINVAL)?;
        assert_eq!(write(&bad, part), Err(EIO));

        write(&bad, page(7)?)?;
        assert_eq!(bad.first_in(page(7)?), None);
        assert_eq!(bad.first_in(page(9)?), Some(9 * PAGE_SIZE));
        Ok(())
    }

    #[test]
    fn is_listed_when_there_is_room() -> Result {
        let bad = BadMemory::new(LEN)?;

        fill(&bad)?;
        assert!(!bad.add_failed(page(7)?, || {}));
        assert_eq!(bad.list.first_in(page(7)?), None);

        write(&bad, page(1000)?)?;
        assert_eq!(bad.list.first_in(page(7)?), Some(page(7)?));
        assert!(bad.unlisted.is_empty());
        Ok(())
    }

    #[test]
    fn a_full_list_can_be_divided() -> Result {
        let bad = BadMemory::new(LEN)?;
        let three = ByteRange::new(0, 3 * PAGE_SIZE).ok_or(EINVAL)?;

        assert!(bad.add_failed(three, || {}));
        fill(&bad)?;
        write(&bad, page(1)?)?;

        assert_eq!(bad.first_in(page(0)?), Some(0));
        assert_eq!(bad.first_in(page(1)?), None);
        assert_eq!(bad.first_in(page(2)?), Some(2 * PAGE_SIZE));
        Ok(())
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

    #[test]
    fn what_the_platform_finds_during_a_repair_stays_bad() -> Result {
        let bad = BadMemory::new(LEN)?;

        assert!(bad.add_failed(page(0)?, || {}));

        let repair = bad.repair(page(0)?)?.ok_or(EINVAL)?;
        bad.populate(|range, list| list.mark(page(0)?).map(|()| Window::at(range)))?;
        assert_eq!(repair.finish(page(0)?, |_| assert!(false)), Err(EIO));
        assert_eq!(bad.first_in(page(0)?), Some(0));

        let repair = bad.repair(page(0)?)?.ok_or(EINVAL)?;
        bad.populate(|range, list| list.mark(page(1)?).map(|()| Window::at(range)))?;
        repair.finish(page(0)?, |_| {})?;
        assert_eq!(bad.first_in(page(0)?), None);
        assert_eq!(bad.first_in(page(1)?), Some(PAGE_SIZE));
        Ok(())
    }

    #[test]
    fn what_is_repaired_while_the_platform_is_asked_is_good() -> Result {
        let bad = BadMemory::new(LEN)?;
        let asked = core::cell::Cell::new(0);

        assert!(bad.add_failed(page(0)?, || {}));
        bad.populate(|range, list| {
            asked.set(asked.get() + 1);
            if asked.get() == 1 {
                list.mark(page(0)?)?;
                write(&bad, page(0)?)?;
            }
            Ok(Window::at(range))
        })?;

        assert_eq!(asked.get(), 2);
        assert_eq!(bad.first_in(page(0)?), None);
        Ok(())
    }

    #[test]
    fn all_that_the_platform_knows_is_bad() -> Result {
        const EVERY: u64 = 24;
        let bad = BadMemory::new(LEN)?;

        // One sector in every third page of the first 32 MiB, and the very last sector.
        bad.populate(|range, list| {
            let (first, count) = range.sectors();
            let every = (0..32 << 11).step_by(EVERY as usize);
            let all = Iterator::chain(every, [(LEN >> 9) - 1]);

            for sector in all.filter(|sector| (first..first + count).contains(sector)) {
                let sector = ByteRange::new((sector - first) << 9, 512).ok_or(EINVAL)?;

                let _ = list.mark(sector);
            }
            Ok(Window::at(range))
        })?;

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
