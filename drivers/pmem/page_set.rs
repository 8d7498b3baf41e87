// SPDX-License-Identifier: GPL-2.0

//! A set of pages, with one bit for each page of a device.

use daxmf::range::{
    space,
    PageRange, //
};
use kernel::{
    alloc::KVVec,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

/// The number of pages in a word.
const WORD: u64 = u64::BITS as u64;

/// A set of pages of a device, counted from its start.
///
/// Adding a page allocates no memory, so it cannot fail. There is no lock: a lookup that runs
/// during a change can find a part of the change. `kernel::bitmap` is not used because it allocates
/// its bits in one piece, which limits it to a device of 128 GiB.
pub(crate) struct PageSet {
    words: KVVec<Atomic<u64>>,
    /// The number of pages in the set.
    count: Atomic<u64>,
}

impl PageSet {
    /// Creates an empty set for a device of `pages` pages.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn new(pages: u64) -> Result<Self> {
        let len = usize::try_from(pages.div_ceil(WORD))?;
        let mut words = KVVec::with_capacity(len, GFP_KERNEL)?;

        for _ in 0..len {
            words.push(Atomic::new(0), GFP_KERNEL)?;
        }
        Ok(Self {
            words,
            count: Atomic::new(0),
        })
    }

    /// Whether no page is in the set.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Relaxed) == 0
    }

    /// Adds pages. Pages for which the set has no bit are ignored.
    pub(crate) fn add(&self, pages: PageRange<space::Device>) {
        for (word, mask) in self.words_of(pages) {
            let before = update(word, |bits| bits | mask);

            self.count
                .fetch_add(u64::from((mask & !before).count_ones()), Relaxed);
        }
    }

    /// Removes pages.
    pub(crate) fn remove(&self, pages: PageRange<space::Device>) {
        if self.is_empty() {
            return;
        }

        for (word, mask) in self.words_of(pages) {
            let before = update(word, |bits| bits & !mask);

            self.count
                .fetch_sub(u64::from((mask & before).count_ones()), Relaxed);
        }
    }

    /// The first run of `pages` that is in the set.
    pub(crate) fn first_in(
        &self,
        pages: PageRange<space::Device>,
    ) -> Option<PageRange<space::Device>> {
        if self.is_empty() {
            return None;
        }

        let first = self.next(pages, 0)?;
        let rest = pages.skip(first.checked_sub(pages.start())?)?;
        let end = self.next(rest, u64::MAX).unwrap_or(rest.end());

        PageRange::between(first, end)
    }

    /// The first of `pages` that is in the set if `flip` is 0, or the first that is not in the set
    /// if `flip` is [`u64::MAX`].
    fn next(&self, pages: PageRange<space::Device>, flip: u64) -> Option<u64> {
        let mut start = pages.start();

        for (word, mask) in self.words_of(pages) {
            let found = (word.load(Relaxed) ^ flip) & mask;

            if found != 0 {
                return (start / WORD)
                    .checked_mul(WORD)?
                    .checked_add(found.trailing_zeros().into());
            }
            start = (start / WORD).checked_add(1)?.checked_mul(WORD)?;
        }
        None
    }

    /// The words with the bits of `pages`, each with a mask of these bits.
    fn words_of(
        &self,
        pages: PageRange<space::Device>,
    ) -> impl Iterator<Item = (&Atomic<u64>, u64)> {
        let (first, end) = (pages.start(), pages.end());

        (first / WORD..end.div_ceil(WORD)).map_while(move |index| {
            let word = self.words.get(usize::try_from(index).ok()?)?;
            let start = index.checked_mul(WORD)?;
            // The mask has the bits of `from` that are not in `after`.
            let from = u64::MAX << first.saturating_sub(start).min(WORD - 1);
            let after = match end.saturating_sub(start) {
                count if count < WORD => u64::MAX << count,
                _ => 0,
            };

            Some((word, from & !after))
        })
    }
}

/// Replaces a word by `change` of it. Returns the old word.
fn update(word: &Atomic<u64>, change: impl Fn(u64) -> u64) -> u64 {
    let mut bits = word.load(Relaxed);

    while let Err(now) = word.cmpxchg(bits, change(bits), Relaxed) {
        bits = now;
    }
    bits
}

#[kunit_tests(daxmf_pmem_page_set)]
mod tests {
    use super::*;

    fn pages(first: u64, count: u64) -> Result<PageRange<space::Device>> {
        PageRange::new(first, count).ok_or(EINVAL)
    }

    #[test]
    fn finds_added_pages() -> Result {
        let set = PageSet::new(1000)?;
        let all = pages(0, 1000)?;

        for (first, count) in [(0, 1), (63, 2), (64, 64), (100, 300), (999, 1), (5, 990)] {
            let some = pages(first, count)?;

            assert_eq!(set.first_in(all), None);
            set.add(some);
            set.add(some);
            assert_eq!(set.first_in(all), Some(some));
            assert_eq!(set.first_in(some), Some(some));
            if first > 0 {
                assert_eq!(set.first_in(pages(0, first)?), None);
            }
            if some.end() < 1000 {
                assert_eq!(set.first_in(pages(some.end(), 1000 - some.end())?), None);
            }
            set.remove(some);
            assert!(set.is_empty());
        }
        Ok(())
    }

    #[test]
    fn removal_splits_a_run() -> Result {
        let set = PageSet::new(1 << 20)?;

        set.add(pages(0, 1 << 20)?);
        set.remove(pages(100, 1000)?);

        assert_eq!(set.first_in(pages(0, 1 << 20)?), PageRange::new(0, 100));
        assert_eq!(set.first_in(pages(100, 1000)?), None);
        assert_eq!(set.first_in(pages(150, 2000)?), PageRange::new(1100, 1050));
        Ok(())
    }

    #[test]
    fn pages_beyond_the_end_are_ignored() -> Result {
        let set = PageSet::new(64)?;

        set.add(pages(60, 100)?);

        assert_eq!(set.first_in(pages(0, 1000)?), PageRange::new(60, 940));
        assert_eq!(set.first_in(pages(64, 1000)?), None);
        Ok(())
    }
}
