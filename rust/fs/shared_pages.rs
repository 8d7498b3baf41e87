// SPDX-License-Identifier: GPL-2.0

//! Pages that several files share.
//!
//! Reference: [`fs/dax.c`](srctree/fs/dax.c)

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed, //
        },
        new_mutex,
        Mutex, //
    }, //
};

use super::without_reclaim;

/// The lock of the pages that several files of a filesystem share.
///
/// `fs/dax.c` counts in a page how many files have the page mapped (`dax_associate_entry()`,
/// `dax_disassociate_entry()`). It changes the count under the `i_pages` lock of only one of these
/// files. If two threads change the count for two files at the same time, one change is lost. The
/// page then counts as unmapped, and is allocated to another owner while a process still maps it.
///
/// A thread takes this lock after all locks of [`lock`](super::lock).
#[pin_data]
pub(super) struct SharedPages {
    #[pin]
    lock: Mutex<()>,
    /// The number of starts and ends of [`with_fault()`](Self::with_fault).
    faults: Atomic<u64>,
    /// Whether the page fault that holds the lock has not moved the file to the copy of the page.
    is_copy_lost: Atomic<bool>,
    /// How many writes to a new place have ended without the file being moved there.
    lost_writes: Atomic<u64>,
}

impl SharedPages {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            lock <- new_mutex!(()),
            faults: Atomic::new(0),
            is_copy_lost: Atomic::new(false),
            lost_writes: Atomic::new(0),
        })
    }

    /// Calls `f` with the lock held. `f` can change the count of files that map a page.
    ///
    /// `f` can allocate memory. The allocation does not reclaim inodes, because that takes the
    /// lock, too.
    pub(super) fn with_lock<R>(&self, f: impl FnOnce() -> R) -> R {
        without_reclaim(|| {
            let _guard = self.lock.lock();

            f()
        })
    }

    /// Calls `f`, a page fault, with the lock held. Also returns whether `f` has called
    /// [`lose_copy()`](Self::lose_copy).
    pub(super) fn with_fault<R>(&self, f: impl FnOnce() -> R) -> (R, bool) {
        self.with_lock(|| {
            self.faults.fetch_add(1, Full);
            self.is_copy_lost.store(false, Relaxed);

            let result = f();

            self.faults.fetch_add(1, Full);
            (result, self.is_copy_lost.load(Relaxed))
        })
    }

    /// Notes that the file has not moved to the copy of the page. Called in `f` of
    /// [`with_fault()`](Self::with_fault).
    pub(super) fn lose_copy(&self) {
        self.is_copy_lost.store(true, Relaxed);
    }

    /// Calls `find`, which finds the place of a page. Returns [`None`] if a page fault could copy
    /// the page meanwhile: it can have found the page shared, and `find` can have found it not
    /// shared before the page fault gives it another place.
    pub(super) fn find_undisturbed<R>(&self, find: impl FnOnce() -> R) -> Option<R> {
        // If a page fault found the page shared before `find` found it not shared, the locks of
        // `FileSystem::map()` order the start of the page fault before the second load.
        let before = self.faults.load(Acquire);
        let found = find();

        (before % 2 == 0 && self.faults.load(Acquire) == before).then_some(found)
    }

    /// Counts a `write()` to a new place that has ended without the file being moved there. Nothing
    /// but the count tells the caller of `fs/dax.c`: `iomap_iter()` ignores such an error.
    pub(super) fn count_lost_write(&self) {
        self.lost_writes.fetch_add(1, Relaxed);
    }

    /// The number of writes that [`count_lost_write()`](Self::count_lost_write) has counted.
    pub(super) fn lost_writes(&self) -> u64 {
        self.lost_writes.load(Relaxed)
    }
}
