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

/// A reference to an inode, which must not outlive the superblock.
///
/// Dropping the last reference evicts the inode. An eviction sleeps, takes the lock of the
/// filesystem, and waits for users of its pages.
///
/// # Invariants
///
/// `self.0` points to an inode of a superblock of type `T`, which is valid for the duration of
/// `'a`. `self` owns a reference to the inode.
pub(super) struct InodeRef<'a, T: FileSystem>(
    NonNull<bindings::inode>,
    PhantomData<&'a SuperBlock<T>>,
);

impl<'a, T: FileSystem> InodeRef<'a, T> {
    /// Takes over the caller's reference to an inode. Returns [`None`] if the pointer is null.
    ///
    /// # Safety
    ///
    /// `inode` must be null, or an inode with a reference that the caller owns. Its superblock must
    /// be of type `T`, and valid for as long as the returned value exists.
    pub(super) unsafe fn from_raw(inode: *mut bindings::inode) -> Option<Self> {
        // INVARIANT: The caller passes a reference by the safety requirements.
        NonNull::new(inode).map(|inode| Self(inode, PhantomData))
    }

    /// Passes the reference to the caller.
    pub(super) fn into_raw(self) -> *mut bindings::inode {
        ManuallyDrop::new(self).0.as_ptr()
    }

    /// Converts the reference to one that can be dropped where an eviction is not possible.
    pub(super) fn deferred(self) -> DeferredRef<'a, T> {
        DeferredRef(ManuallyDrop::new(self))
    }
}

impl<T: FileSystem> Deref for InodeRef<'_, T> {
    type Target = Inode<T>;

    fn deref(&self) -> &Inode<T> {
        // SAFETY: `self.0` points to a valid inode of type `T` by the type invariants.
        unsafe { Inode::from_raw(self.0.as_ptr()) }
    }
}

impl<T: FileSystem> Drop for InodeRef<'_, T> {
    fn drop(&mut self) {
        // SAFETY: `self` owns a reference by the type invariants, and does not use the inode
        // afterwards.
        unsafe { bindings::iput(self.0.as_ptr()) };
    }
}

/// A reference to an inode that a callback of a memory failure may drop. A work item drops the last
/// reference: an eviction in the callback would wait while the filesystem is frozen, and all later
/// memory failures of the machine would wait for the callback.
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

        // SAFETY: `self` owns a reference by the type invariants of `InodeRef`, and does not use
        // the inode if this drops the reference.
        if unsafe { bindings::iput_if_not_last(inode.as_ptr()) } {
            return;
        }

        // SAFETY: The superblock outlives the reference by the type invariants of `InodeRef`.
        let super_block = unsafe { SuperBlock::<T>::from_raw((*inode.as_ptr()).i_sb) };

        // SAFETY: `self` owns the reference by the type invariants of `InodeRef`, and does not use
        // it afterwards.
        unsafe { super_block.delayed_iputs().add(inode) };
        super_block.failure_work().queue();
    }
}
