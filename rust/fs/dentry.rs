// SPDX-License-Identifier: GPL-2.0

//! The name and the inode of a dentry.
//!
//! C header: [`include/linux/dcache.h`](srctree/include/linux/dcache.h)

use core::slice;

use crate::bindings;

use super::{
    lock::LockedInode,
    FileSystem,
    Inode, //
};

/// Returns the name of a dentry, as C has it.
///
/// # Safety
///
/// `dentry` must be valid, and must keep its name for the duration of `'a`. A dentry keeps its name
/// while the inode of its directory is locked.
pub(super) unsafe fn qstr<'a>(dentry: *const bindings::dentry) -> &'a bindings::qstr {
    // SAFETY: `dentry` is valid and keeps its name by the safety requirements.
    unsafe { &(*dentry).__bindgen_anon_1.d_name }
}

/// Returns the name of a dentry.
///
/// # Safety
///
/// As for [`qstr()`].
pub(super) unsafe fn name<'a>(dentry: *const bindings::dentry) -> &'a [u8] {
    // SAFETY: `dentry` is valid and keeps its name by the safety requirements. The name has `len`
    // bytes.
    unsafe {
        let name = qstr(dentry);
        let len = name.__bindgen_anon_1.__bindgen_anon_1.len;

        // CAST: A length in memory is a `usize`.
        slice::from_raw_parts(name.name, len as usize)
    }
}

/// Returns the inode of a dentry, or [`None`] if the dentry has no inode.
///
/// # Safety
///
/// `dentry` must be valid for the duration of `'a`, and belong to a superblock of type `T`. Its
/// inode must not be set or removed in this time.
pub(super) unsafe fn inode_of<'a, T: FileSystem>(
    dentry: *const bindings::dentry,
) -> Option<&'a Inode<T>> {
    // SAFETY: `dentry` is valid by the safety requirements. It has a reference to its inode, and
    // keeps it for the duration of `'a`.
    unsafe {
        let inode = (*dentry).d_inode;

        (!inode.is_null()).then(|| Inode::from_raw(inode))
    }
}

/// Borrows an inode that this thread has locked.
///
/// # Safety
///
/// `inode` must be valid for the duration of `'a`, of a superblock of type `T`, and locked.
pub(super) unsafe fn locked<'a, T: FileSystem>(inode: *mut bindings::inode) -> &'a LockedInode<T> {
    // SAFETY: `inode` is valid, of type `T`, and locked by the safety requirements.
    unsafe { LockedInode::assume(Inode::from_raw(inode)) }
}
