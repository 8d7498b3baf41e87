// SPDX-License-Identifier: GPL-2.0

//! Those who are told that contents are lost, and what the kernel keeps of these.
//!
//! C headers: [`include/linux/fserror.h`](srctree/include/linux/fserror.h),
//! [`include/linux/mm.h`](srctree/include/linux/mm.h)

use core::ptr;

use kernel::{
    prelude::*,
    time::{
        delay::fsleep,
        Delta, //
    },
    types::NotThreadSafe, //
};

use crate::{
    bindings,
    memory_failure::{
        kill_procs_of,
        Flags, //
    },
    range::{
        space,
        ByteRange,
        PageRange, //
    },
};

use super::{
    inode_ref::{
        DeferredRef,
        InodeRef, //
    },
    invalidate::Dirty,
    lock::Frozen,
    losses::Lost,
    FileSystem,
    Inode,
    SuperBlock, //
};

impl<T: FileSystem> SuperBlock<T> {
    /// Tells everybody who uses `pages` of a file that they are lost: processes that have them
    /// mapped (see [`kill_procs()`](crate::memory_failure::kill_procs)), and those who listen for
    /// errors of filesystems (`FAN_FS_ERROR`). Processes only if the memory is about to be removed,
    /// with [`Flags::MEM_PRE_REMOVE`].
    ///
    /// May sleep. The caller holds no lock that [`FileSystem::map()`] takes, nor one that is held
    /// when it is called. From before the call on, that finds [`Place::Bad`].
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short. Processes have been told nevertheless.
    /// - `EBUSY` if a page is not a DAX page any more.
    pub fn tell_owners(&self, number: u64, pages: PageRange<space::File>, flags: Flags) -> Result {
        // The caller holds `dax_srcu`, and maybe `mf_mutex`.
        let inode = self.find(number).map(InodeRef::deferred);

        if flags.contains(Flags::MEM_PRE_REMOVE) {
            return inode.map_or(Ok(()), |inode| inode.kill_procs(pages, flags));
        }

        let noted = self.losses().add(Lost {
            number,
            pages,
            is_known: inode.is_some(),
        });

        // What is not in memory nobody has mapped. To read it takes time, and waits for one that
        // goes: it is reported later.
        if let Some(inode) = inode {
            inode.report_data_lost(pages);
            inode.kill_procs(pages, flags)?;
        }
        noted
    }

    /// Has the kernel forget the pages that have failed, and reports those that were not. Called
    /// some time after the failure.
    pub(super) fn settle(&self) {
        let mut next = usize::MAX;

        self.losses().merge();
        while let Some((index, noted)) = self.losses().before(next) {
            if self.settle_one(noted.lost) {
                self.losses().remove(index, noted);
            }
            next = index;
        }
        // Somebody uses a page in the way of direct I/O, or there was no memory.
        if !self.losses().is_empty() {
            self.settler().ask();
        }
        self.last_refs().give_up();
    }

    /// Returns false if it is to be tried again.
    fn settle_one(&self, lost: Lost) -> bool {
        if !lost.is_known {
            return match self.inode(lost.number) {
                Ok(inode) => {
                    inode.report_data_lost(lost.pages);
                    true
                }
                Err(error) => error != ENOMEM,
            };
        }

        // There is no entry without an inode.
        self.find(lost.number)
            .is_none_or(|inode| inode.forget(lost.pages, &Frozen::new(&inode)))
    }

    /// Unmaps all files, and has the kernel forget all of their pages, which are about to go.
    /// Nobody can map them any more.
    ///
    /// This waits for those who use a page through others than the mapping, as direct I/O does:
    /// they must be gone before the pages are.
    pub(super) fn revoke(&self) {
        while self.for_each_inode(|inode| inode.revoke()) {
            // An inode that is about to go forgets its pages by itself.
            fsleep(Delta::from_millis(1));
        }
    }

    /// Calls `f` for each inode in memory. Returns true if there are such that are about to go,
    /// for which it is not called.
    fn for_each_inode(&self, f: impl Fn(&Inode<T>)) -> bool {
        let mut is_one_going = false;
        let mut inode = self.next_inode(None, &mut is_one_going);

        while let Some(current) = inode {
            f(&current);
            // It keeps its place in the list until the next one was found.
            inode = self.next_inode(Some(&current), &mut is_one_going);
        }
        is_one_going
    }

    /// The inode behind another one in the list of all, but for such that are about to go.
    fn next_inode(
        &self,
        after: Option<&Inode<T>>,
        is_one_going: &mut bool,
    ) -> Option<DeferredRef<'_, T>> {
        let list = InodeList::new(self);
        let mut inode = after.map_or(ptr::null_mut(), Inode::as_raw);

        loop {
            // SAFETY: An inode with a reference is in the list, and so is one that was found there.
            inode = unsafe { list.behind(inode) };
            if inode.is_null() {
                return None;
            }

            // SAFETY: It is in the list. `igrab()` takes no reference to one that is being freed.
            let found = unsafe { InodeRef::from_raw(bindings::igrab(inode)) };
            if let Some(found) = found {
                return Some(found.deferred());
            }
            *is_one_going = true;
        }
    }
}

/// The list of a filesystem's inodes in memory, locked. None of them is freed.
///
/// # Invariants
///
/// This thread has locked the list.
///
/// C: `super_block::s_inode_list_lock`
struct InodeList<'a, T: FileSystem> {
    super_block: &'a SuperBlock<T>,
    _not_send: NotThreadSafe,
}

impl<'a, T: FileSystem> InodeList<'a, T> {
    /// Takes the lock.
    fn new(super_block: &'a SuperBlock<T>) -> Self {
        // INVARIANT: The lock is taken here.
        // SAFETY: The superblock is valid by its type invariants.
        unsafe { bindings::spin_lock(&raw mut (*super_block.as_raw()).s_inode_list_lock) };
        Self {
            super_block,
            _not_send: NotThreadSafe,
        }
    }

    /// The inode behind another one, null at the end; the first one if `inode` is null.
    ///
    /// # Safety
    ///
    /// `inode` must be null or in the list.
    unsafe fn behind(&self, inode: *mut bindings::inode) -> *mut bindings::inode {
        // SAFETY: The superblock is valid by its type invariants, and what is in the list by ours.
        unsafe {
            let head = &raw mut (*self.super_block.as_raw()).s_inodes;
            let link = match inode.is_null() {
                true => head,
                false => &raw mut (*inode).i_sb_list,
            };
            let next = (*link).next;

            match next == head {
                true => ptr::null_mut(),
                false => kernel::container_of!(next, bindings::inode, i_sb_list),
            }
        }
    }
}

impl<T: FileSystem> Drop for InodeList<'_, T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::spin_unlock(&raw mut (*self.super_block.as_raw()).s_inode_list_lock) };
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
    fn report_data_lost(&self, pages: PageRange<space::File>) {
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

    /// Has the kernel forget all pages of a file that nobody can map any more.
    fn revoke(&self) {
        if !self.is(bindings::S_IFREG) {
            return;
        }

        let mut frozen = Frozen::new(self);
        let mut dirty = Dirty::Kept;

        loop {
            match self.try_unmap(ByteRange::ALL, dirty, &frozen) {
                Ok(true) => return,
                Ok(false) => frozen.thaw(),
                Err(_) => dirty = Dirty::Discarded,
            }
        }
    }
}
