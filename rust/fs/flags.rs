// SPDX-License-Identifier: GPL-2.0

//! Flags of inodes, as `chattr` sets them.
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

/// Flags, and what the VFS goes by.
const KNOWN_TO_VFS: [(u32, u32); 3] = [
    (bindings::FS_IMMUTABLE_FL, bindings::S_IMMUTABLE),
    (bindings::FS_APPEND_FL, bindings::S_APPEND),
    (bindings::FS_NOATIME_FL, bindings::S_NOATIME),
];

/// What the VFS goes by.
fn for_vfs(flags: u32) -> u32 {
    KNOWN_TO_VFS
        .iter()
        .filter(|(flag, _)| flags & flag != 0)
        .fold(0, |all, (_, known)| all | known)
}

impl<T: FileSystem> Inode<T> {
    /// Has the VFS go by `flags`.
    ///
    /// # Safety
    ///
    /// The caller must hold the inode's lock, or nobody else uses the inode.
    pub(super) unsafe fn show_flags(&self, flags: u32) {
        // SAFETY: By the safety requirements.
        unsafe {
            bindings::inode_set_flags(self.as_raw(), for_vfs(flags), for_vfs(Attributes::FLAGS))
        };
    }
}

/// The operations that all types of inodes have.
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
            // SAFETY: By the safety requirements.
            let inode = unsafe { Inode::<T>::from_raw((*dentry).d_inode) };
            let flags = inode.read()?.flags;

            // SAFETY: By the safety requirements.
            unsafe { bindings::fileattr_fill_flags(attr.cast(), flags) };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// - Called by `vfs_fileattr_set()` only, which has locked the inode of `dentry`, one of a
    ///   superblock of type `T`, and checked who may change what.
    /// - `attr` is valid.
    pub(super) unsafe extern "C" fn set(
        _idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        attr: *mut kernel::bindings::file_kattr,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
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
            // SAFETY: The inode is locked.
            unsafe { inode.show_flags(flags) };
            inode.refresh();
            Ok(0)
        })
    }
}
