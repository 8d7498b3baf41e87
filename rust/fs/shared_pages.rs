// SPDX-License-Identifier: GPL-2.0

//! Pages that lie in several files.
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

/// The lock of the pages of a filesystem that lie in several files.
///
/// `fs/dax.c` counts in a page how many files have it mapped (`dax_associate_entry()`,
/// `dax_disassociate_entry()`), and changes the count with the lock of one of these files' mappings
/// (`i_pages`). Two files that change it at the same time lose a change: the page then counts as
/// free of mappings, and gets another owner, while a process still has it mapped.
///
/// It is the last of the locks of [`lock`](super::lock).
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

    /// Calls `f`, which may change in how many files a page counts as mapped.
    ///
    /// It may allocate memory: an inode that is reclaimed takes the lock, too.
    pub(super) fn with_lock<R>(&self, f: impl FnOnce() -> R) -> R {
        without_reclaim(|| {
            let _guard = self.lock.lock();

            f()
        })
    }
}
