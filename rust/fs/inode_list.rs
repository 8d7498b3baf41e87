// SPDX-License-Identifier: GPL-2.0

//! The list of all inodes of a filesystem in memory.
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
    /// Calls `f` for each inode in memory, except for inodes that are being evicted. Returns true
    /// if there are such inodes.
    pub(super) fn for_each_inode(&self, f: impl Fn(&Inode<T>)) -> bool {
        let mut is_evicting = false;
        let mut inode = self.next_inode(None, &mut is_evicting);

        while let Some(current) = inode {
            f(&current);
            // `current` keeps its place in the list until the next inode is found.
            inode = self.next_inode(Some(&current), &mut is_evicting);
        }
        is_evicting
    }

    /// The first inode after `after` in the list that is not being evicted.
    fn next_inode(
        &self,
        after: Option<&Inode<T>>,
        is_evicting: &mut bool,
    ) -> Option<DeferredRef<'_, T>> {
        let list = InodeList::new(self);
        let mut inode = after.map_or(ptr::null_mut(), Inode::as_raw);

        loop {
            // SAFETY: `after` has a reference, so it is in the list. Every later `inode` was found
            // in the list.
            inode = unsafe { list.next_after(inode) };
            if inode.is_null() {
                return None;
            }

            // SAFETY: The inode is in the locked list, so it is valid. `igrab()` returns null for
            // an inode that is being freed.
            let found = unsafe { InodeRef::from_raw(bindings::igrab(inode)) };
            if let Some(found) = found {
                return Some(found.deferred());
            }
            *is_evicting = true;
        }
    }
}

/// The locked list of a filesystem's inodes in memory. While it is locked, no inode in it is freed.
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
        // SAFETY: `super_block` is valid by the type invariants of `SuperBlock`.
        unsafe { bindings::spin_lock(&raw mut (*super_block.as_raw()).s_inode_list_lock) };
        Self {
            super_block,
            _not_send: NotThreadSafe,
        }
    }

    /// The inode after `inode` in the list, or null at the end. If `inode` is null, the first
    /// inode.
    ///
    /// # Safety
    ///
    /// `inode` must be null or in the list.
    unsafe fn next_after(&self, inode: *mut bindings::inode) -> *mut bindings::inode {
        // SAFETY: `super_block` is valid by the type invariants of `SuperBlock`. This thread holds
        // `s_inode_list_lock` by the type invariants of `InodeList`, so all inodes in the list are
        // valid.
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
        // SAFETY: This thread holds `s_inode_list_lock` by the type invariants.
        unsafe { bindings::spin_unlock(&raw mut (*self.super_block.as_raw()).s_inode_list_lock) };
    }
}
