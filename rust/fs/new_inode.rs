// SPDX-License-Identifier: GPL-2.0

//! Inodes that are created.

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

/// An inode in the making, which nobody else knows. It is discarded when dropped.
///
/// # Invariants
///
/// `self.0` is an inode that is not hashed, of which `self` owns the one reference.
pub(super) struct NewInode<T: FileSystem>(NonNull<bindings::inode>, PhantomData<T>);

impl<T: FileSystem> NewInode<T> {
    /// Allocates an inode with mode and owners as one has that is created in `directory` through a
    /// mount with the mapping `idmap`.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    ///
    /// # Safety
    ///
    /// `idmap` must be the mapping of a mount, as the VFS passes it.
    pub(super) unsafe fn new(
        idmap: *mut bindings::mnt_idmap,
        directory: &Inode<T>,
        mode: bindings::umode_t,
    ) -> Result<Self> {
        // SAFETY: The superblock is valid by its type invariants.
        let inode = unsafe { bindings::new_inode(directory.super_block().as_raw()) };
        let inode = NonNull::new(inode).ok_or(ENOMEM)?;

        // SAFETY: Both inodes are valid, and so is the mapping by the safety requirements.
        unsafe { bindings::inode_init_owner(idmap, inode.as_ptr(), directory.as_raw(), mode) };

        // INVARIANT: The inode was just allocated.
        Ok(Self(inode, PhantomData))
    }

    pub(super) fn as_raw(&self) -> *mut bindings::inode {
        self.0.as_ptr()
    }

    /// What the filesystem is to create.
    pub(super) fn attributes(&self, device: bindings::dev_t, now: Time) -> Attributes {
        // SAFETY: By the type invariants.
        let (inode, device) = unsafe {
            (
                Inode::<T>::from_raw(self.0.as_ptr()),
                bindings::huge_encode_dev(device),
            )
        };

        Attributes {
            mode: inode.mode(),
            // SAFETY: By the type invariants nobody else knows the inode.
            uid: unsafe { (*inode.as_raw()).i_uid.val },
            // SAFETY: By the type invariants nobody else knows the inode.
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
            born: now,
        }
    }

    /// Makes it the inode of the number `number`, set up from what the filesystem says.
    ///
    /// Returns it with a reference, and still new (`I_NEW`): others wait until it has a name.
    ///
    /// # Errors
    ///
    /// - `EBUSY` if the number is in use.
    /// - The errors of [`SuperBlock::inode()`](super::SuperBlock::inode). With the `link` of a
    ///   symbolic link, it allocates nothing: the filesystem has the inode already.
    pub(super) fn insert(self, number: u64, link: Option<Link>) -> Result<*mut bindings::inode> {
        let inode = self.0.as_ptr();

        // SAFETY: By the type invariants. Who goes through the list of all inodes may read the
        // number at this moment.
        to_result(unsafe {
            write_once(&raw mut (*inode).i_ino, number);
            bindings::insert_inode_locked(inode)
        })?;

        // Now that it is hashed, it has to be let go in another way.
        let _ = ManuallyDrop::new(self);

        // SAFETY: `insert_inode_locked()` has made it new. `iget_failed()` drops the reference.
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
        // SAFETY: By the type invariants. The filesystem is not told when a bad inode goes.
        unsafe {
            bindings::make_bad_inode(self.0.as_ptr());
            bindings::iput(self.0.as_ptr());
        }
    }
}
