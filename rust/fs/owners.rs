// SPDX-License-Identifier: GPL-2.0

//! The owners of pages that have failed: how they are notified, and what is done later.
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
    /// Notifies everybody who uses `pages` of a file that they have failed: processes that have
    /// them mapped (see [`kill_procs()`](crate::memory_failure::kill_procs)), and those who listen
    /// for errors of filesystems (`FAN_FS_ERROR`). Processes only if the memory is about to be
    /// removed, with [`Flags::MEM_PRE_REMOVE`].
    ///
    /// May sleep. The caller holds no lock that [`FileSystem::map()`] takes, nor one that is held
    /// when it is called. From before the call on, that finds [`Place::Bad`](super::Place::Bad).
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short. Processes have been told nevertheless.
    /// - `EBUSY` if a page is not a DAX page any more.
    pub fn notify_owners(
        &self,
        number: u64,
        pages: PageRange<space::File>,
        flags: Flags,
    ) -> Result {
        // The caller holds `dax_srcu`, and maybe `mf_mutex`.
        let inode = self.find(number).map(InodeRef::deferred);

        if flags.contains(Flags::MEM_PRE_REMOVE) {
            return inode.map_or(Ok(()), |inode| inode.kill_procs(pages, flags));
        }

        let recorded = self.failed_pages().add(FailedRange {
            number,
            pages,
            was_cached: inode.is_some(),
        });

        // What is not in memory nobody has mapped. To read it takes time, and waits for one that
        // goes: it is reported later.
        if let Some(inode) = inode {
            inode.report_data_lost(pages);
            inode.kill_procs(pages, flags)?;
        }
        recorded
    }

    /// Invalidates the pages that have failed, and reports those that were not yet. Called a second
    /// after the failure.
    pub(super) fn finish_failures(&self) {
        let mut next = usize::MAX;

        self.failed_pages().merge();
        while let Some((index, recorded)) = self.failed_pages().before(next) {
            if self.finish_failure(recorded.failed) {
                self.failed_pages().remove(index, recorded);
            }
            next = index;
        }
        // Somebody uses a page in the way of direct I/O, or there was no memory.
        if !self.failed_pages().is_empty() {
            self.failure_work().queue();
        }
        self.delayed_iputs().run();
    }

    /// Returns false if it is to be tried again.
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

        // There is no entry without an inode.
        self.find(failed.number)
            .is_none_or(|inode| inode.invalidate_bad(failed.pages, &InvalidateLock::new(&inode)))
    }
}

impl<T: FileSystem> Inode<T> {
    /// Sends SIGBUS to the processes that have `pages` of the file mapped, and unmaps them; pages
    /// that nobody has touched through a mapping are left out.
    ///
    /// # Errors
    ///
    /// - `EBUSY` if a page is not a DAX page any more.
    fn kill_procs(&self, pages: PageRange<space::File>, flags: Flags) -> Result {
        // SAFETY: The mapping of a valid inode is valid.
        unsafe { kill_procs_of(self.mapping(), pages, flags) }
    }

    /// Reports that `pages` of the file are lost, if anybody watches the filesystem: a report takes
    /// longer than all else that is done for an owner who has nothing mapped.
    ///
    /// C: `fserror_report_data_lost()`
    pub(super) fn report_data_lost(&self, pages: PageRange<space::File>) {
        let super_block = self.super_block().as_raw();
        // SAFETY: The superblock is valid.
        let is_watched = unsafe { bindings::fsnotify_sb_has_watchers(super_block) };
        let Some(range) = pages.bytes().filter(|_| is_watched) else {
            return;
        };

        // SAFETY: The inode and its superblock are valid.
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
