// SPDX-License-Identifier: GPL-2.0

//! Creation of inodes.

use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};

use kernel::{
    error::to_result,
    prelude::*, //
};

use crate::bindings;

use super::{
    inode::write_once,
    symlink::Link,
    Attributes,
    FileSystem,
    Inode,
    Time, //
};

/// An inode that is being created, and that has no other user. The drop discards the inode.
///
/// # Invariants
///
/// `self.0` points to an inode that is not hashed. `self` owns its only reference.
pub(super) struct NewInode<T: FileSystem>(NonNull<bindings::inode>, PhantomData<T>);

impl<T: FileSystem> NewInode<T> {
    /// Allocates an inode. Its mode, user and group are those of an inode that is created in
    /// `directory` through a mount with the ID mapping `idmap`.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    ///
    /// # Safety
    ///
    /// `idmap` must be the ID mapping of a mount, as the VFS passes it.
    pub(super) unsafe fn new(
        idmap: *mut bindings::mnt_idmap,
        directory: &Inode<T>,
        mode: bindings::umode_t,
    ) -> Result<Self> {
        // SAFETY: `super_block()` is valid by the type invariants of `SuperBlock`.
        let inode = unsafe { bindings::new_inode(directory.super_block().as_raw()) };
        let inode = NonNull::new(inode).ok_or(ENOMEM)?;

        // SAFETY: `new_inode()` returned a valid inode, `directory` is valid by its type
        // invariants, and `idmap` is valid by the safety requirements.
        unsafe { bindings::inode_init_owner(idmap, inode.as_ptr(), directory.as_raw(), mode) };

        // INVARIANT: The inode was just allocated.
        Ok(Self(inode, PhantomData))
    }

    pub(super) fn as_raw(&self) -> *mut bindings::inode {
        self.0.as_ptr()
    }

    /// The attributes that the filesystem creates the inode with.
    pub(super) fn attributes(&self, device: bindings::dev_t, now: Time) -> Attributes {
        // SAFETY: `self.0` points to a valid inode by the type invariants.
        let (inode, device) = unsafe {
            (
                Inode::<T>::from_raw(self.0.as_ptr()),
                bindings::huge_encode_dev(device),
            )
        };

        Attributes {
            mode: inode.mode(),
            // SAFETY: By the type invariants, the inode has no other user.
            uid: unsafe { (*inode.as_raw()).i_uid.val },
            // SAFETY: By the type invariants, the inode has no other user.
            gid: unsafe { (*inode.as_raw()).i_gid.val },
            links: 0,
            size: 0,
            blocks: 0,
            device,
            generation: 0,
            flags: 0,
            version: 0,
            accessed: now,
            modified: now,
            changed: now,
            created: now,
        }
    }

    /// Gives the inode the number `number`, and sets it up from the attributes in the filesystem.
    ///
    /// Returns the inode with a reference, and still new (`I_NEW`): other users wait until the
    /// caller clears `I_NEW`.
    ///
    /// # Errors
    ///
    /// - `EBUSY` if the number is in use.
    /// - The errors of [`SuperBlock::inode()`](super::SuperBlock::inode). The filesystem has
    ///   already created the inode, so this allocates no memory if `link` has the target of a
    ///   symbolic link.
    pub(super) fn insert(self, number: u64, link: Option<Link>) -> Result<*mut bindings::inode> {
        let inode = self.0.as_ptr();

        // SAFETY: `self.0` is valid, and `self` owns its only reference, by the type invariants. A
        // reader of the list of all inodes can read `i_ino` at the same time.
        to_result(unsafe {
            write_once(&raw mut (*inode).i_ino, number);
            bindings::insert_inode_locked(inode)
        })?;

        // The inode is hashed now, so `drop()` must not discard it.
        let _ = ManuallyDrop::new(self);

        // SAFETY: `insert_inode_locked()` has set `I_NEW`. `iget_failed()` takes over the
        // reference.
        unsafe {
            Inode::<T>::from_raw(inode)
                .fill(link)
                .inspect_err(|_| bindings::iget_failed(inode))?;
        }
        Ok(inode)
    }
}

impl<T: FileSystem> Drop for NewInode<T> {
    fn drop(&mut self) {
        // SAFETY: `self` owns the only reference by the type invariants. `evict_inode()` does not
        // call the filesystem for a bad inode.
        unsafe {
            bindings::make_bad_inode(self.0.as_ptr());
            bindings::iput(self.0.as_ptr());
        }
    }
}
