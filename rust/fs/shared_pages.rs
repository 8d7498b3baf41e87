// SPDX-License-Identifier: GPL-2.0

//! Pages that several files share.
//!
//! Reference: [`fs/dax.c`](srctree/fs/dax.c)

use kernel::{
    prelude::*,
    sync::{
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
}

impl SharedPages {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            lock <- new_mutex!(()),
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
}
