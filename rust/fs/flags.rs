// SPDX-License-Identifier: GPL-2.0

//! Flags of inodes, which `chattr` sets.
//!
//! C header: [`include/linux/fileattr.h`](srctree/include/linux/fileattr.h)

use core::marker::PhantomData;

use kernel::{
    error::from_result,
    prelude::*, //
};

use crate::bindings;

use super::{
    lock::LockedInode,
    Attributes,
    FileSystem,
    Inode, //
};

/// Flags of a file (`FS_…_FL`), and the flags of the VFS inode (`S_…`) that implement them.
const VFS_FLAGS: [(u32, u32); 3] = [
    (bindings::FS_IMMUTABLE_FL, bindings::S_IMMUTABLE),
    (bindings::FS_APPEND_FL, bindings::S_APPEND),
    (bindings::FS_NOATIME_FL, bindings::S_NOATIME),
];

/// Converts flags of a file to flags of the VFS inode.
fn vfs_flags(flags: u32) -> u32 {
    VFS_FLAGS
        .iter()
        .filter(|(flag, _)| flags & flag != 0)
        .fold(0, |all, (_, known)| all | known)
}

impl<T: FileSystem> Inode<T> {
    /// Sets the flags of the VFS inode for `flags`.
    ///
    /// # Safety
    ///
    /// The caller must hold the inode's lock, or the inode must have no other user.
    pub(super) unsafe fn set_vfs_flags(&self, flags: u32) {
        // SAFETY: The caller holds the inode's lock, or is the only user, by the safety
        // requirements.
        unsafe {
            bindings::inode_set_flags(
                self.as_raw(),
                vfs_flags(flags),
                vfs_flags(Attributes::FLAGS),
            )
        };
    }
}

/// The operations for inodes of all types.
pub(super) struct VTable<T: FileSystem>(PhantomData<T>);

impl<T: FileSystem> VTable<T> {
    /// # Safety
    ///
    /// - Called by `vfs_fileattr_get()` only, for a dentry of an inode of a superblock of type `T`.
    /// - `attr` is valid for writes.
    pub(super) unsafe extern "C" fn get(
        dentry: *mut bindings::dentry,
        attr: *mut kernel::bindings::file_kattr,
    ) -> c_int {
        from_result(|| {
            // SAFETY: `vfs_fileattr_get()` passes a dentry of an inode of type `T`.
            let inode = unsafe { Inode::<T>::from_raw((*dentry).d_inode) };
            let flags = inode.read()?.flags;

            // SAFETY: `attr` is valid for writes by the safety requirements.
            unsafe { bindings::fileattr_fill_flags(attr.cast(), flags) };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// - Called by `vfs_fileattr_set()` only, which has locked the inode of `dentry`, and has
    ///   checked the permissions. The inode is of a superblock of type `T`.
    /// - `attr` is valid.
    pub(super) unsafe extern "C" fn set(
        _idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        attr: *mut kernel::bindings::file_kattr,
    ) -> c_int {
        from_result(|| {
            // SAFETY: `vfs_fileattr_set()` passes a dentry whose inode is of type `T` and locked.
            // `attr` is valid.
            let (inode, flags, has_more) = unsafe {
                let attr: *mut bindings::file_kattr = attr.cast();

                (
                    LockedInode::assume(Inode::<T>::from_raw((*dentry).d_inode)),
                    (*attr).flags,
                    bindings::fileattr_has_fsx(attr),
                )
            };

            if has_more || flags & !Attributes::FLAGS != 0 {
                return Err(EOPNOTSUPP);
            }

            inode.fs().set_flags(inode, flags, inode.now())?;
            // SAFETY: `vfs_fileattr_set()` has locked the inode.
            unsafe { inode.set_vfs_flags(flags) };
            inode.refresh();
            Ok(0)
        })
    }
}
