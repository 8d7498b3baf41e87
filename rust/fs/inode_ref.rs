// SPDX-License-Identifier: GPL-2.0

//! References to inodes.

use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Deref,
    ptr::NonNull, //
};

use crate::bindings;

use super::{
    FileSystem,
    Inode,
    SuperBlock, //
};

/// A reference to an inode, which exists no longer than its superblock.
///
/// Where the last one is dropped the inode is evicted. That sleeps, takes the lock of the
/// filesystem, and waits for those who use a page.
///
/// # Invariants
///
/// `self.0` is an inode of a superblock of type `T` that is valid for the duration of `'a`. `self`
/// owns a reference to it.
pub(super) struct InodeRef<'a, T: FileSystem>(
    NonNull<bindings::inode>,
    PhantomData<&'a SuperBlock<T>>,
);

impl<'a, T: FileSystem> InodeRef<'a, T> {
    /// Takes over the caller's reference to an inode, [`None`] if the pointer is null.
    ///
    /// # Safety
    ///
    /// `inode` must be null, or an inode with a reference that the caller owns, of a superblock of
    /// type `T` that is valid as long as what is returned.
    pub(super) unsafe fn from_raw(inode: *mut bindings::inode) -> Option<Self> {
        // INVARIANT: By the safety requirements.
        NonNull::new(inode).map(|inode| Self(inode, PhantomData))
    }

    /// Hands the reference on to the caller.
    pub(super) fn into_raw(self) -> *mut bindings::inode {
        ManuallyDrop::new(self).0.as_ptr()
    }

    /// The same, to be dropped where the inode must not be evicted.
    pub(super) fn deferred(self) -> DeferredRef<'a, T> {
        DeferredRef(ManuallyDrop::new(self))
    }
}

impl<T: FileSystem> Deref for InodeRef<'_, T> {
    type Target = Inode<T>;

    fn deref(&self) -> &Inode<T> {
        // SAFETY: By the type invariants.
        unsafe { Inode::from_raw(self.0.as_ptr()) }
    }
}

impl<T: FileSystem> Drop for InodeRef<'_, T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, and the inode is not used afterwards.
        unsafe { bindings::iput(self.0.as_ptr()) };
    }
}

/// A reference to an inode that a callback of a memory failure may drop: if it is the last one, a
/// work item drops it. An eviction waits while the filesystem is frozen, and with it the failures
/// of the whole machine would.
pub(super) struct DeferredRef<'a, T: FileSystem>(ManuallyDrop<InodeRef<'a, T>>);

impl<T: FileSystem> Deref for DeferredRef<'_, T> {
    type Target = Inode<T>;

    fn deref(&self) -> &Inode<T> {
        &self.0
    }
}

impl<T: FileSystem> Drop for DeferredRef<'_, T> {
    fn drop(&mut self) {
        let inode = self.0 .0;

        // SAFETY: The reference is ours, and it is not used afterwards if it was dropped.
        if unsafe { bindings::iput_if_not_last(inode.as_ptr()) } {
            return;
        }

        // SAFETY: The superblock exists longer than the reference.
        let super_block = unsafe { SuperBlock::<T>::from_raw((*inode.as_ptr()).i_sb) };

        // SAFETY: The reference is ours, and not used afterwards.
        unsafe { super_block.delayed_iputs().add(inode) };
        super_block.failure_work().queue();
    }
}
