// SPDX-License-Identifier: GPL-2.0

//! Failed pages of files for which the kernel can still have entries.

use kernel::{
    alloc::KVVec,
    prelude::*,
    sync::{
        new_mutex,
        Mutex, //
    }, //
};

use crate::range::{
    space,
    PageRange, //
};

use super::without_reclaim;

/// Failed pages of one file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct FailedRange {
    pub(super) number: u64,
    pub(super) pages: PageRange<space::File>,
    /// Whether the inode was in memory. If so, `notify_owners()` has reported the loss of the data,
    /// and the kernel can have entries for the pages.
    pub(super) was_cached: bool,
}

impl FailedRange {
    fn key(&self) -> (u64, bool, u64, u64) {
        (
            self.number,
            self.was_cached,
            self.pages.start(),
            self.pages.end(),
        )
    }
}

/// The record of a failure of pages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct FailureRecord {
    pub(super) failed: FailedRange,
    /// The number of later failures of the same pages.
    repeats: u64,
}

/// The failed pages of a filesystem that `finish_failures()` has not finished yet.
///
/// [`add()`](Self::add) does not search for duplicates, because a page can have very many owners.
#[pin_data]
pub(super) struct FailedPages {
    #[pin]
    all: Mutex<KVVec<FailureRecord>>,
}

impl FailedPages {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            all <- new_mutex!(KVVec::new()),
        })
    }

    /// Adds a record.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(super) fn add(&self, failed: FailedRange) -> Result {
        let recorded = FailureRecord { failed, repeats: 0 };

        // Reclaiming an inode writes it back, and `writepages()` takes this lock.
        without_reclaim(|| Ok(self.all.lock().push(recorded, GFP_KERNEL)?))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.lock().is_empty()
    }

    /// Merges duplicates: a page can fail again and again while a process uses it.
    pub(super) fn merge(&self) {
        let mut all = self.all.lock();
        let mut kept = 0_usize;

        all.sort_unstable_by_key(|recorded| recorded.failed.key());
        for index in 0..all.len() {
            let Some(recorded) = all.get(index).copied() else {
                break;
            };
            let last = kept.checked_sub(1).and_then(|last| all.get_mut(last));

            match last.filter(|last| last.failed == recorded.failed) {
                Some(last) => {
                    last.repeats = last.repeats.wrapping_add(recorded.repeats).wrapping_add(1);
                }
                None => {
                    if let Some(place) = all.get_mut(kept) {
                        *place = recorded;
                    }
                    kept = kept.saturating_add(1);
                }
            }
        }
        all.truncate(kept);
    }

    /// The record before `index`, and the index of this record. If `index` is too large, this is
    /// the last record.
    pub(super) fn before(&self, index: usize) -> Option<(usize, FailureRecord)> {
        let all = self.all.lock();
        let index = index.min(all.len()).checked_sub(1)?;

        all.get(index).map(|recorded| (index, *recorded))
    }

    /// The last record of pages of an inode for which the kernel can have entries, and the index of
    /// the record.
    pub(super) fn of_inode(&self, number: u64) -> Option<(usize, FailureRecord)> {
        let all = self.all.lock();
        let index = all
            .iter()
            .rposition(|recorded| recorded.failed.was_cached && recorded.failed.number == number)?;

        all.get(index).map(|recorded| (index, *recorded))
    }

    /// Removes a record that was handled. `index` is the index of the record when it was found. If
    /// the pages have failed again since, the record stays.
    pub(super) fn remove(&self, index: usize, recorded: FailureRecord) {
        let mut all = self.all.lock();
        let index = match all.get(index) == Some(&recorded) {
            true => Some(index),
            false => all.iter().position(|other| *other == recorded),
        };
        let Some((index, last)) = index.and_then(|index| Some((index, all.pop()?))) else {
            return;
        };

        // The last record, which `pop()` has removed, replaces the record at `index`, unless both
        // are the same.
        if let Some(place) = all.get_mut(index) {
            *place = last;
        }
    }
}

#[kunit_tests(daxmf_fs_failed_pages)]
mod tests {
    use super::*;

    fn failed(number: u64, was_cached: bool, first: u64) -> Result<FailedRange> {
        Ok(FailedRange {
            number,
            pages: PageRange::new(first, 1).ok_or(EINVAL)?,
            was_cached,
        })
    }

    #[test]
    fn merges_repeated_failures() -> Result {
        let failed_pages = KBox::pin_init(FailedPages::new(), GFP_KERNEL)?;

        for page in [3, 5, 3, 4, 3] {
            failed_pages.add(failed(7, true, page)?)?;
        }
        failed_pages.add(failed(7, false, 3)?)?;
        failed_pages.merge();

        let mut found = KVec::new();

        while let Some((index, recorded)) = failed_pages.of_inode(7) {
            found.push(
                (recorded.failed.pages.start(), recorded.repeats),
                GFP_KERNEL,
            )?;
            failed_pages.remove(index, recorded);
        }
        assert_eq!(&found[..], &[(5, 0), (4, 0), (3, 2)]);
        assert!(!failed_pages.is_empty());
        Ok(())
    }

    #[test]
    fn failed_again_while_handled() -> Result {
        let failed_pages = KBox::pin_init(FailedPages::new(), GFP_KERNEL)?;

        failed_pages.add(failed(7, true, 3)?)?;
        let (index, recorded) = failed_pages.of_inode(7).ok_or(EINVAL)?;
        failed_pages.add(failed(7, true, 3)?)?;
        failed_pages.merge();
        failed_pages.remove(index, recorded);
        let (index, recorded) = failed_pages.of_inode(7).ok_or(EINVAL)?;
        failed_pages.remove(index, recorded);
        assert!(failed_pages.is_empty());
        Ok(())
    }
}
