// SPDX-License-Identifier: GPL-2.0

//! Notifies the owners of failed pages: at once, and again a second later.
//!
//! C headers: [`include/linux/fserror.h`](srctree/include/linux/fserror.h),
//! [`include/linux/mm.h`](srctree/include/linux/mm.h)

use kernel::prelude::*;

use crate::{
    bindings,
    memory_failure::{
        kill_procs_of,
        Flags, //
    },
    range::{
        space,
        PageRange, //
    },
};

use super::{
    failed_pages::FailedRange,
    inode_ref::InodeRef,
    lock::InvalidateLock,
    FileSystem,
    Inode,
    SuperBlock, //
};

impl<T: FileSystem> SuperBlock<T> {
    /// Notifies the users of failed `pages` of a file: processes that map them (see
    /// [`kill_procs()`](crate::memory_failure::kill_procs)), and programs that listen for errors of
    /// filesystems (`FAN_FS_ERROR`). With [`Flags::MEM_PRE_REMOVE`], notifies processes only.
    ///
    /// Can sleep. The caller must not hold a lock that [`FileSystem::map()`] takes, or that is held
    /// when `map()` is called. Before the call, `map()` must already return
    /// [`Place::Bad`](super::Place::Bad) for the pages.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short. The processes have been notified anyway.
    /// - `EBUSY` if the inode is not a regular file.
    pub fn notify_owners(
        &self,
        number: u64,
        pages: PageRange<space::File>,
        flags: Flags,
    ) -> Result {
        // A callback of a memory failure holds `dax_srcu`, and can hold `mf_mutex`. So this
        // function must not evict the inode.
        let inode = self.find(number).map(InodeRef::deferred);

        if flags.contains(Flags::MEM_PRE_REMOVE) {
            return inode.map_or(Ok(()), |inode| inode.kill_procs(pages, flags));
        }

        let recorded = self.failed_pages().add(FailedRange {
            number,
            pages,
            was_cached: inode.is_some(),
        });

        // No process maps a file whose inode is not in memory. Reading the inode takes time, and
        // can wait for an eviction, so `finish_failures()` reports the loss later.
        if let Some(inode) = inode {
            inode.report_data_lost(pages);
            inode.kill_procs(pages, flags)?;
        }
        recorded
    }

    /// Invalidates the failed pages, and reports those that `notify_owners()` did not report.
    /// Called a second after the failure.
    pub(super) fn finish_failures(&self) {
        let mut next = usize::MAX;

        self.failed_pages().merge();
        while let Some((index, recorded)) = self.failed_pages().before(next) {
            if self.finish_failure(recorded.failed) {
                self.failed_pages().remove(index, recorded);
            }
            next = index;
        }
        // Direct I/O uses a page, or memory is short. Try again in a second.
        if !self.failed_pages().is_empty() {
            self.failure_work().queue();
        }
        self.delayed_iputs().run();
    }

    /// Invalidates the pages of one failure, or reports their loss. Returns false if the caller
    /// must try again later.
    fn finish_failure(&self, failed: FailedRange) -> bool {
        if !failed.was_cached {
            return match self.inode(failed.number) {
                Ok(inode) => {
                    inode.report_data_lost(failed.pages);
                    true
                }
                Err(error) => error != ENOMEM,
            };
        }

        // An inode that is not in memory has no entries for pages.
        self.find(failed.number)
            .is_none_or(|inode| inode.invalidate_bad(failed.pages, &InvalidateLock::new(&inode)))
    }
}

impl<T: FileSystem> Inode<T> {
    /// Sends SIGBUS to the processes that map `pages` of the file, and unmaps the pages. Pages that
    /// no process has touched through a mapping are skipped.
    ///
    /// # Errors
    ///
    /// - `EBUSY` if the inode is not a regular file.
    fn kill_procs(&self, pages: PageRange<space::File>, flags: Flags) -> Result {
        // SAFETY: `self` is a valid inode by the type invariants of `Inode`, so `mapping()` is a
        // valid mapping.
        unsafe { kill_procs_of(self.mapping(), pages, flags) }
    }

    /// Reports the loss of the data in `pages` of the file to the watchers of the filesystem. Does
    /// nothing without watchers: if no process maps the file, a report takes longer than the rest
    /// of the notification.
    ///
    /// C: `fserror_report_data_lost()`
    pub(super) fn report_data_lost(&self, pages: PageRange<space::File>) {
        let super_block = self.super_block().as_raw();
        // SAFETY: `self` is a valid inode by the type invariants of `Inode`, so its superblock is
        // valid.
        let is_watched = unsafe { bindings::fsnotify_sb_has_watchers(super_block) };
        let Some(range) = pages.bytes().filter(|_| is_watched) else {
            return;
        };

        // SAFETY: `self` is a valid inode by the type invariants of `Inode`, so its superblock is
        // valid.
        unsafe {
            bindings::fserror_report(
                super_block,
                self.as_raw(),
                bindings::fserror_type_FSERR_DATA_LOST,
                bindings::loff_t::try_from(range.start()).unwrap_or(bindings::loff_t::MAX),
                range.len(),
                EIO.to_errno(),
                bindings::GFP_NOFS,
            );
        }
    }
}
