// SPDX-License-Identifier: GPL-2.0

//! What is bad of the memory of a namespace.

mod platform;
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

use crate::page_set::PageSet;

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

        self.first_bad(range).map(ByteRange::start)
    }

    /// The first bad part of `range`; a bad part may follow it at once.
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

    /// Calls `good` with the pages that have a part of `range` and no bad part.
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

    /// Adds `range`, which has failed, and calls `mark`. No repair ends meanwhile.
    ///
    /// Returns whether the list has it.
    pub(crate) fn add_failed(&self, range: ByteRange<space::Device>, mark: impl FnOnce()) -> bool {
        let mut under_way = self.under_way.lock();

        UnderWay::fail(&mut under_way, range);
        mark();
        self.add(range)
    }

    /// Adds `range`, in which errors were found, and calls `news` with its pages that had no bad
    /// part before. No repair ends meanwhile.
    ///
    /// Returns whether the list has it.
    pub(crate) fn add_found(
        &self,
        range: ByteRange<space::Device>,
        news: impl FnMut(PageRange<space::Device>),
    ) -> bool {
        self.add_anew(&mut self.under_way.lock(), range, news)
    }

    fn add_anew(
        &self,
        under_way: &mut Option<UnderWay>,
        range: ByteRange<space::Device>,
        mut news: impl FnMut(PageRange<space::Device>),
    ) -> bool {
        UnderWay::fail(under_way, range);
        self.for_each_good(range, |pages| {
            // Whoever hears of it finds it bad.
            if let Some(bad) = pages.bytes().and_then(|bytes| bytes.clip(range)) {
                self.add(bad);
            }
            news(pages);
        });
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

#[kunit_tests(daxmf_pmem_bad)]
mod tests {
    use super::*;

    const LEN: u64 = 1 << 30;

    fn page(number: u64) -> Result<ByteRange<space::Device>> {
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
        bad.repair(range, || Ok(()), |_| {})?
            .then_some(())
            .ok_or(EINVAL)
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

    /// The first page and the number of the pages that are news of some sectors.
    fn news(bad: &BadMemory, sector: u64, count: u64) -> Result<KVec<(u64, u64)>> {
        let range = ByteRange::new(sector << 9, count << 9).ok_or(EINVAL)?;
        let mut news = KVec::new();
        let mut result = Ok(());

        bad.add_found(range, |pages| {
            if result.is_ok() {
                result = news.push((pages.start(), pages.len()), GFP_KERNEL);
            }
        });
        result?;
        Ok(news)
    }

    #[test]
    fn a_page_is_news_while_it_is_good() -> Result {
        let bad = BadMemory::new(LEN)?;

        // Sectors of a page, then of it and its neighbours.
        assert_eq!(news(&bad, 81, 1)?, [(10, 1)]);
        assert_eq!(news(&bad, 81, 1)?, []);
        assert_eq!(news(&bad, 87, 1)?, []);
        assert_eq!(news(&bad, 79, 10)?, [(9, 1), (11, 1)]);

        // What a process has hit is known.
        assert!(bad.add_failed(page(20)?, || {}));
        assert_eq!(news(&bad, 18 * 8, 40)?, [(18, 2), (21, 2)]);

        // A part of it is repaired, then all of it.
        let sector = ByteRange::new(81 << 9, 512).ok_or(EINVAL)?;
        write(&bad, sector)?;
        assert_eq!(news(&bad, 81, 1)?, []);
        write(&bad, page(10)?)?;
        assert_eq!(news(&bad, 81, 1)?, [(10, 1)]);
        Ok(())
    }

    #[test]
    fn news_without_a_list() -> Result {
        let bad = BadMemory::new(LEN)?;

        fill(&bad)?;
        assert_eq!(news(&bad, 8 * 8, 8)?, [(8, 1)]);
        assert_eq!(news(&bad, 7 * 8, 24)?, [(7, 1), (9, 1)]);
        assert_eq!(news(&bad, 7 * 8, 24)?, []);
        // The end of the device, and what lies behind it.
        assert_eq!(news(&bad, (LEN >> 9) - 1, 100)?, [(LEN / PAGE_SIZE - 1, 1)]);
        assert_eq!(news(&bad, LEN >> 9, 100)?, []);
        Ok(())
    }
}
