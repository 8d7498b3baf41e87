// SPDX-License-Identifier: GPL-2.0

//! Pages of files that have failed, and that the kernel may still have entries for.

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

/// Pages of a file that have failed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) number: u64,
    pub(super) pages: PageRange<space::File>,
    /// The inode was in memory: those who listen for errors have been told, and the kernel may have
    /// entries for the pages.
    pub(super) is_known: bool,
}

impl Lost {
    fn key(&self) -> (u64, bool, u64, u64) {
        (
            self.number,
            self.is_known,
            self.pages.start(),
            self.pages.end(),
        )
    }
}

/// What is noted of pages that have failed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Noted {
    pub(super) lost: Lost,
    /// How often they have failed again since.
    repeats: u64,
}

/// The pages of a filesystem that have failed since it was last mended.
///
/// To add one takes no look at the others: a page may have very many owners.
#[pin_data]
pub(super) struct Losses {
    #[pin]
    all: Mutex<KVVec<Noted>>,
}

impl Losses {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            all <- new_mutex!(KVVec::new()),
        })
    }

    pub(super) fn add(&self, lost: Lost) -> Result {
        let noted = Noted { lost, repeats: 0 };

        // An inode that is reclaimed is written back first, which looks here.
        without_reclaim(|| Ok(self.all.lock().push(noted, GFP_KERNEL)?))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.lock().is_empty()
    }

    /// Makes one of those that were added several times: a page may fail again and again while
    /// somebody uses it.
    pub(super) fn merge(&self) {
        let mut all = self.all.lock();
        let mut kept = 0_usize;

        all.sort_unstable_by_key(|noted| noted.lost.key());
        for index in 0..all.len() {
            let Some(noted) = all.get(index).copied() else {
                break;
            };
            let last = kept.checked_sub(1).and_then(|last| all.get_mut(last));

            match last.filter(|last| last.lost == noted.lost) {
                Some(last) => {
                    last.repeats = last.repeats.wrapping_add(noted.repeats).wrapping_add(1);
                }
                None => {
                    if let Some(place) = all.get_mut(kept) {
                        *place = noted;
                    }
                    kept = kept.saturating_add(1);
                }
            }
        }
        all.truncate(kept);
    }

    /// The one before `index`, or the last one, and its index.
    pub(super) fn before(&self, index: usize) -> Option<(usize, Noted)> {
        let all = self.all.lock();
        let index = index.min(all.len()).checked_sub(1)?;

        all.get(index).map(|noted| (index, *noted))
    }

    /// Pages of an inode that the kernel may have entries for, and their index.
    pub(super) fn known(&self, number: u64) -> Option<(usize, Noted)> {
        let all = self.all.lock();
        let index = all
            .iter()
            .rposition(|noted| noted.lost.is_known && noted.lost.number == number)?;

        all.get(index).map(|noted| (index, *noted))
    }

    /// Removes what was dealt with, which is or was at `index`, unless it has failed again
    /// meanwhile.
    pub(super) fn remove(&self, index: usize, noted: Noted) {
        let mut all = self.all.lock();
        let index = match all.get(index) == Some(&noted) {
            true => Some(index),
            false => all.iter().position(|other| *other == noted),
        };
        let Some((index, last)) = index.and_then(|index| Some((index, all.pop()?))) else {
            return;
        };

        // The last one takes its place, unless it is it.
        if let Some(place) = all.get_mut(index) {
            *place = last;
        }
    }
}

#[kunit_tests(daxmf_fs_losses)]
mod tests {
    use super::*;

    fn lost(number: u64, is_known: bool, first: u64) -> Result<Lost> {
        Ok(Lost {
            number,
            pages: PageRange::new(first, 1).ok_or(EINVAL)?,
            is_known,
        })
    }

    #[test]
    fn merged() -> Result {
        let losses = KBox::pin_init(Losses::new(), GFP_KERNEL)?;

        for page in [3, 5, 3, 4, 3] {
            losses.add(lost(7, true, page)?)?;
        }
        losses.add(lost(7, false, 3)?)?;
        losses.merge();

        let mut found = KVec::new();

        while let Some((index, noted)) = losses.known(7) {
            found.push((noted.lost.pages.start(), noted.repeats), GFP_KERNEL)?;
            losses.remove(index, noted);
        }
        assert_eq!(&found[..], &[(5, 0), (4, 0), (3, 2)]);
        assert!(!losses.is_empty());
        Ok(())
    }

    #[test]
    fn failed_again_while_dealt_with() -> Result {
        let losses = KBox::pin_init(Losses::new(), GFP_KERNEL)?;

        losses.add(lost(7, true, 3)?)?;
        let (index, noted) = losses.known(7).ok_or(EINVAL)?;
        losses.add(lost(7, true, 3)?)?;
        losses.merge();
        losses.remove(index, noted);
        let (index, noted) = losses.known(7).ok_or(EINVAL)?;
        losses.remove(index, noted);
        assert!(losses.is_empty());
        Ok(())
    }
}
