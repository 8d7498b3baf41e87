// SPDX-License-Identifier: GPL-2.0

//! All inodes of a filesystem that are in memory.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use core::ptr;

use kernel::types::NotThreadSafe;

use crate::bindings;

use super::{
    inode_ref::{
        DeferredRef,
        InodeRef, //
    },
    FileSystem,
    Inode,
    SuperBlock, //
};

impl<T: FileSystem> SuperBlock<T> {
    /// Calls `f` for each inode in memory. Returns true if there are such that are about to go,
    /// for which it is not called.
    pub(super) fn for_each_inode(&self, f: impl Fn(&Inode<T>)) -> bool {
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
