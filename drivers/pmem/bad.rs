// SPDX-License-Identifier: GPL-2.0

//! The bad ranges of a namespace.

mod platform;
mod removals;
mod repair;

use daxmf::{
    badblocks::Badblocks,
    range::{
        space,
        ByteRange,
        PageRange,
        PAGE_SIZE, //
    },
};
use kernel::{
    prelude::*,
    sync::{
        atomic::Atomic,
        new_mutex,
        Arc,
        Mutex, //
    },
};

use self::removals::Removals;
use crate::page_set::PageSet;

/// The bad ranges of a namespace.
///
/// `list` is the disk's list of bad blocks, which has room for 512 ranges. If a range does not fit,
/// its pages are added to `unlisted`. They move to `list` when it has room again. Listed and
/// unlisted ranges are equally bad.
#[pin_data]
pub(crate) struct BadMemory {
    range: ByteRange<space::Device>,
    list: Arc<Badblocks>,
    unlisted: PageSet,
    /// Held during a repair, so that one repair runs at a time.
    #[pin]
    repair: Mutex<()>,
    /// The running repair. Its lock is held during each change of the bad ranges.
    #[pin]
    running: Mutex<Option<RunningRepair>>,
    #[pin]
    removals: Mutex<Removals>,
    /// The number of finished repairs. It changes under the lock of `running`.
    finished: Atomic<u64>,
}

/// A repair that has started and has not finished.
struct RunningRepair {
    range: ByteRange<space::Device>,
    /// Whether a part of the range has failed since the start of the repair.
    has_failed: bool,
}

impl RunningRepair {
    /// Sets `has_failed` if the running repair, if any, overlaps `range`, which failed.
    fn note_failure(running: &mut Option<Self>, range: ByteRange<space::Device>) {
        if let Some(repair) = running {
            repair.has_failed |= repair.range.clip(range).is_some();
        }
    }
}

impl BadMemory {
    /// Creates the state of a namespace of `len` bytes that has no bad range yet.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if `len` is 0.
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
                running <- new_mutex!(None),
                removals <- new_mutex!(Removals::new()),
                finished: Atomic::new(0),
            }),
            GFP_KERNEL,
        )
    }

    /// The disk's list of bad blocks.
    pub(crate) fn list(&self) -> &Arc<Badblocks> {
        &self.list
    }

    /// Whether there is no bad range at the moment. Takes no lock.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty() && self.unlisted.is_empty()
    }

    /// The offset of the first bad byte of `range`.
    #[inline]
    pub(crate) fn first_in(&self, range: ByteRange<space::Device>) -> Option<u64> {
        if self.is_empty() {
            return None;
        }

        self.first_bad(range).map(ByteRange::start)
    }

    /// The first bad part of `range`. Another bad part can follow it directly.
    fn first_bad(&self, range: ByteRange<space::Device>) -> Option<ByteRange<space::Device>> {
        let listed = self.list.first_in(range);
        let unlisted = self
            .unlisted
            .first_in(range.pages())
            .and_then(PageRange::bytes)
            .and_then(|bad| bad.clip(range));

        [listed, unlisted]
            .into_iter()
            .flatten()
            .min_by_key(|bad| bad.start())
    }

    /// Calls `good` with each run of pages that overlap `range` and have no bad part.
    fn for_each_good(
        &self,
        range: ByteRange<space::Device>,
        mut good: impl FnMut(PageRange<space::Device>),
    ) {
        let mut rest = range
            .pages()
            .bytes()
            .and_then(|range| range.clip(self.range));

        while let Some(part) = rest {
            let bad = self.first_bad(part);
            let end = bad.map_or(part.end(), ByteRange::start);

            if let Some(pages) = ByteRange::between(part.start(), end).and_then(whole_pages) {
                good(pages);
            }
            rest = bad
                .and_then(|bad| bad.end().checked_next_multiple_of(PAGE_SIZE))
                .and_then(|next| ByteRange::between(next, part.end()));
        }
    }

    /// Adds `range`, which failed, and calls `mark`, both under the lock that a repair takes to
    /// finish. `is_removed` says whether the machine check handler removes the memory from the
    /// linear map after the notification. If so, the caller calls
    /// [`end_notification()`](Self::end_notification) afterwards.
    ///
    /// Returns whether the list has the range.
    pub(crate) fn add_failed(
        &self,
        range: ByteRange<space::Device>,
        is_removed: bool,
        mark: impl FnOnce(),
    ) -> bool {
        let mut running = self.running.lock();

        if is_removed {
            self.removals.lock().start(range);
        }

        RunningRepair::note_failure(&mut running, range);
        mark();
        self.add(range)
    }

    /// Adds `range`, in which errors were found, and calls `newly_bad` with each run of its pages
    /// that had no bad part, both under the lock that a repair takes to finish.
    ///
    /// Returns whether the list has the range.
    pub(crate) fn add_found(
        &self,
        range: ByteRange<space::Device>,
        newly_bad: impl FnMut(PageRange<space::Device>),
    ) -> bool {
        self.add_found_locked(&mut self.running.lock(), range, newly_bad)
    }

    fn add_found_locked(
        &self,
        running: &mut Option<RunningRepair>,
        range: ByteRange<space::Device>,
        mut newly_bad: impl FnMut(PageRange<space::Device>),
    ) -> bool {
        RunningRepair::note_failure(running, range);
        self.for_each_good(range, |pages| {
            // The range is added first, so that it is bad when `newly_bad` runs.
            if let Some(bad) = pages.bytes().and_then(|bytes| bytes.clip(range)) {
                self.add(bad);
            }
            newly_bad(pages);
        });
        self.add(range)
    }

    fn add(&self, range: ByteRange<space::Device>) -> bool {
        // A full list refuses every range, even one that it has.
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

    /// Removes `range` from the bad ranges.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if the list is full, and removing the range splits a listed one within a page.
    ///   The range stays bad then.
    fn remove(&self, range: ByteRange<space::Device>) -> Result {
        if let Err(error) = self.list.clear(range) {
            self.list.clear(self.with_following(range).ok_or(error)?)?;
        }
        if let Some(pages) = whole_pages(range) {
            self.unlisted.remove(pages);
        }

        // The list can have room now.
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

    /// Returns `range` extended by the listed range that follows it directly. Adds the pages of
    /// that listed range to `unlisted`. Returns [`None`] if no listed range follows directly, or if
    /// the listed range starts within a page.
    fn with_following(&self, range: ByteRange<space::Device>) -> Option<ByteRange<space::Device>> {
        let after = ByteRange::between(range.end(), self.range.end())?;
        let rest = self.list.first_in(after)?;

        if rest.start() != range.end() || rest.start() % PAGE_SIZE != 0 {
            return None;
        }
        self.unlisted.add(rest.pages());
        ByteRange::between(range.start(), rest.end())
    }
}

/// The pages that lie completely in `range`.
fn whole_pages(range: ByteRange<space::Device>) -> Option<PageRange<space::Device>> {
    let first = range.start().div_ceil(PAGE_SIZE);

    PageRange::between(first, range.end() / PAGE_SIZE)
}

#[kunit_tests(daxmf_pmem_bad)]
mod tests {
    use super::*;

    const LEN: u64 = 1 << 30;

    fn page(number: u64) -> Result<ByteRange<space::Device>> {
        ByteRange::new(number * PAGE_SIZE, PAGE_SIZE).ok_or(EINVAL)
    }

    /// Fills the list with every second page from page 1000 on.
    fn fill(bad: &BadMemory) -> Result {
        let mut number = 1000;

        while !bad.list.is_full() {
            assert!(bad.add_failed(page(number)?, false, || {}));
            number += 2;
        }
        Ok(())
    }

    fn write(bad: &BadMemory, range: ByteRange<space::Device>) -> Result {
        bad.repair(range, || Ok(()), |_| {})?
            .then_some(())
            .ok_or(EINVAL)
    }

    #[test]
    fn full_list_leaves_pages_unlisted() -> Result {
        let bad = BadMemory::new(LEN)?;

        fill(&bad)?;
        assert!(!bad.add_failed(page(7)?, false, || {}));
        assert!(!bad.add_failed(page(9)?, false, || {}));
        assert_eq!(bad.first_in(page(7)?), Some(7 * PAGE_SIZE));
        assert_eq!(bad.first_in(page(8)?), None);
        assert_eq!(
            bad.first_in(ByteRange::new(0, LEN).ok_or(EINVAL)?),
            Some(7 * PAGE_SIZE)
        );

        // An unlisted page is bad as a whole.
        let part = ByteRange::new(7 * PAGE_SIZE, 512).ok_or(EINVAL)?;
        assert_eq!(write(&bad, part), Err(EIO));

        write(&bad, page(7)?)?;
        assert_eq!(bad.first_in(page(7)?), None);
        assert_eq!(bad.first_in(page(9)?), Some(9 * PAGE_SIZE));
        Ok(())
    }

    #[test]
    fn unlisted_page_is_listed_when_there_is_room() -> Result {
        let bad = BadMemory::new(LEN)?;

        fill(&bad)?;
        assert!(!bad.add_failed(page(7)?, false, || {}));
        assert_eq!(bad.list.first_in(page(7)?), None);

        write(&bad, page(1000)?)?;
        assert_eq!(bad.list.first_in(page(7)?), Some(page(7)?));
        assert!(bad.unlisted.is_empty());
        Ok(())
    }

    #[test]
    fn range_of_a_full_list_can_be_split() -> Result {
        let bad = BadMemory::new(LEN)?;
        let three = ByteRange::new(0, 3 * PAGE_SIZE).ok_or(EINVAL)?;

        assert!(bad.add_failed(three, false, || {}));
        fill(&bad)?;
        write(&bad, page(1)?)?;

        assert_eq!(bad.first_in(page(0)?), Some(0));
        assert_eq!(bad.first_in(page(1)?), None);
        assert_eq!(bad.first_in(page(2)?), Some(2 * PAGE_SIZE));
        Ok(())
    }

    /// Adds found errors in `count` sectors from `sector` on. Returns the first page and the number
    /// of pages of each run that is newly bad.
    fn newly_bad(bad: &BadMemory, sector: u64, count: u64) -> Result<KVec<(u64, u64)>> {
        let range = ByteRange::new(sector << 9, count << 9).ok_or(EINVAL)?;
        let mut runs = KVec::new();
        let mut result = Ok(());

        bad.add_found(range, |pages| {
            if result.is_ok() {
                result = runs.push((pages.start(), pages.len()), GFP_KERNEL);
            }
        });
        result?;
        Ok(runs)
    }

    #[test]
    fn page_is_newly_bad_only_when_it_was_good() -> Result {
        let bad = BadMemory::new(LEN)?;

        // Sectors of one page, then of this page and its neighbours.
        assert_eq!(newly_bad(&bad, 81, 1)?, [(10, 1)]);
        assert_eq!(newly_bad(&bad, 81, 1)?, []);
        assert_eq!(newly_bad(&bad, 87, 1)?, []);
        assert_eq!(newly_bad(&bad, 79, 10)?, [(9, 1), (11, 1)]);

        // A page that failed is bad already.
        assert!(bad.add_failed(page(20)?, false, || {}));
        assert_eq!(newly_bad(&bad, 18 * 8, 40)?, [(18, 2), (21, 2)]);

        // A part of the page is repaired, then all of it.
        let sector = ByteRange::new(81 << 9, 512).ok_or(EINVAL)?;
        write(&bad, sector)?;
        assert_eq!(newly_bad(&bad, 81, 1)?, []);
        write(&bad, page(10)?)?;
        assert_eq!(newly_bad(&bad, 81, 1)?, [(10, 1)]);
        Ok(())
    }

    #[test]
    fn page_is_newly_bad_with_a_full_list() -> Result {
        let bad = BadMemory::new(LEN)?;

        fill(&bad)?;
        assert_eq!(newly_bad(&bad, 8 * 8, 8)?, [(8, 1)]);
        assert_eq!(newly_bad(&bad, 7 * 8, 24)?, [(7, 1), (9, 1)]);
        assert_eq!(newly_bad(&bad, 7 * 8, 24)?, []);
        // The last page of the device, and sectors beyond its end.
        assert_eq!(
            newly_bad(&bad, (LEN >> 9) - 1, 100)?,
            [(LEN / PAGE_SIZE - 1, 1)]
        );
        assert_eq!(newly_bad(&bad, LEN >> 9, 100)?, []);
        Ok(())
    }
}
