// SPDX-License-Identifier: GPL-2.0

//! Access control lists (ACLs). A filesystem stores them as extended attributes, in the format of
//! the system calls.
//!
//! C header: [`include/linux/posix_acl.h`](srctree/include/linux/posix_acl.h)

use core::{
    marker::PhantomData,
    ptr,
    slice, //
};

use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*, //
};

use crate::bindings;

use super::{
    lock::LockedInode,
    new_inode::NewInode,
    FileSystem,
    Inode,
    Label, //
};

/// The kind of an ACL of an inode.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The ACL of the inode itself.
    Access,
    /// The ACL that new inodes in the directory inherit.
    Default,
}

impl Kind {
    /// Converts a number of C, `ACL_TYPE_…`.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if there is no such kind.
    fn from_raw(kind: c_int) -> Result<Self> {
        // CAST: A negative kind becomes a value that matches none of them.
        match kind as u32 {
            bindings::ACL_TYPE_ACCESS => Ok(Self::Access),
            bindings::ACL_TYPE_DEFAULT => Ok(Self::Default),
            _ => Err(EINVAL),
        }
    }

    /// The name of the extended attribute.
    const fn name(self) -> &'static [u8] {
        match self {
            Self::Access => b"system.posix_acl_access",
            Self::Default => b"system.posix_acl_default",
        }
    }
}

/// An ACL.
///
/// # Invariants
///
/// `self.0` is null, or `self` owns a reference to it.
struct Acl(*mut bindings::posix_acl);

impl Drop for Acl {
    fn drop(&mut self) {
        // SAFETY: `self.0` is null, or `self` owns a reference to it, by the type invariants.
        // `posix_acl_release()` ignores null.
        unsafe { bindings::posix_acl_release(self.0) };
    }
}

/// An ACL as the value of an extended attribute.
///
/// # Invariants
///
/// `bytes` points to `len` initialized bytes from `kmalloc()`.
struct Value {
    bytes: *mut u8,
    len: usize,
}

impl Value {
    /// Converts an ACL to the value of an extended attribute.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    ///
    /// # Safety
    ///
    /// `inode` and `acl` must be valid.
    unsafe fn new(inode: *mut bindings::inode, acl: *const bindings::posix_acl) -> Result<Self> {
        let mut len = 0;

        // SAFETY: `inode` and `acl` are valid by the safety requirements. The superblock of an
        // inode has a user namespace.
        let bytes = unsafe {
            bindings::posix_acl_to_xattr(
                (*(*inode).i_sb).s_user_ns,
                acl,
                &mut len,
                bindings::GFP_KERNEL,
            )
        };

        // INVARIANT: `posix_acl_to_xattr()` returns null, or `len` initialized bytes from
        // `kmalloc()`.
        match bytes.is_null() {
            true => Err(ENOMEM),
            false => Ok(Self {
                bytes: bytes.cast(),
                len,
            }),
        }
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: `bytes` points to `len` initialized bytes by the type invariants.
        unsafe { slice::from_raw_parts(self.bytes, self.len) }
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        // SAFETY: `bytes` is from `kmalloc()` by the type invariants.
        unsafe { bindings::kfree(self.bytes.cast()) };
    }
}

impl<T: FileSystem> NewInode<T> {
    /// The ACLs that the inode inherits from `directory`, as extended attributes. Removes the
    /// permissions from the mode that the ACLs or the umask do not grant, so read the mode after
    /// this call.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    /// - The errors of [`FileSystem::attribute()`].
    ///
    /// C: `posix_acl_create()`
    pub(super) fn acls(&self, directory: &Inode<T>) -> Result<KVec<Label>> {
        let (mut default, mut access) = (ptr::null_mut(), ptr::null_mut());
        let inode = self.as_raw();
        let mut labels = KVec::new();

        // SAFETY: `directory` and `inode` are valid by their type invariants, and the new inode has
        // no other user.
        to_result(unsafe {
            bindings::posix_acl_create(
                directory.as_raw(),
                &raw mut (*inode).i_mode,
                &mut default,
                &mut access,
            )
        })?;

        // INVARIANT: `posix_acl_create()` sets each to null, or to an ACL with a reference for the
        // caller.
        for (kind, acl) in [(Kind::Default, Acl(default)), (Kind::Access, Acl(access))] {
            if !acl.0.is_null() {
                // SAFETY: The new inode is valid, and `acl.0` is a valid ACL, by their type
                // invariants.
                let value = unsafe { Value::new(inode, acl.0) }?;

                labels.push(Label::new(b"", kind.name(), value.bytes())?, GFP_KERNEL)?;
            }
        }
        if labels.is_empty() {
            // SAFETY: The new inode has no other user.
            unsafe { bindings::cache_no_acl(inode) };
        }
        Ok(labels)
    }
}

impl<T: FileSystem> LockedInode<T> {
    /// Sets an ACL, or removes it if `acl` is null. Updates the mode to match.
    ///
    /// # Errors
    ///
    /// - `EACCES` for a default ACL of an inode that is not a directory.
    /// - The errors of [`FileSystem::set_attribute()`] and [`FileSystem::write_inode()`].
    ///
    /// # Safety
    ///
    /// `acl` must be null or valid, and `idmap` valid.
    unsafe fn set_acl(
        &self,
        idmap: *mut bindings::mnt_idmap,
        kind: Kind,
        acl: *mut bindings::posix_acl,
    ) -> Result {
        let inode = self.as_raw();
        let mut acl = acl;
        // CAST: A mode has 16 bits.
        let mut mode = self.mode() as bindings::umode_t;

        if kind == Kind::Default && !self.is(bindings::S_IFDIR) {
            return match acl.is_null() {
                true => Ok(()),
                false => Err(EACCES),
            };
        }
        if kind == Kind::Access && !acl.is_null() {
            // SAFETY: `idmap` and `acl` are valid by the safety requirements.
            // `posix_acl_update_mode()` sets `acl` to null if the mode expresses the whole ACL.
            to_result(unsafe {
                bindings::posix_acl_update_mode(idmap, inode, &mut mode, &mut acl)
            })?;
        }

        let value = (!acl.is_null())
            // SAFETY: `acl` is valid by the safety requirements, and the inode by its type
            // invariants.
            .then(|| unsafe { Value::new(inode, acl) })
            .transpose()?;
        let bytes = value.as_ref().map(Value::bytes);

        match self
            .fs()
            .set_attribute(self, kind.name(), bytes, None, self.now())
        {
            Err(ENODATA) if bytes.is_none() => Ok(()),
            result => result,
        }?;
        // SAFETY: The inode is valid by its type invariants, and `acl` is null or valid by the
        // safety requirements.
        unsafe { bindings::set_cached_acl(inode, kind.as_raw(), acl) };
        self.refresh();

        match u32::from(mode) == self.mode() {
            true => Ok(()),
            false => self.change_mode(mode),
        }
    }
}

impl Kind {
    // CAST: The constants are below 2^16.
    const fn as_raw(self) -> c_int {
        match self {
            Self::Access => bindings::ACL_TYPE_ACCESS as c_int,
            Self::Default => bindings::ACL_TYPE_DEFAULT as c_int,
        }
    }
}

/// The operations for inodes of all types but symbolic links.
pub(super) struct VTable<T: FileSystem>(PhantomData<T>);

impl<T: FileSystem> VTable<T> {
    /// # Safety
    ///
    /// Called by the VFS only, for an inode of a superblock of type `T`.
    pub(super) unsafe extern "C" fn get(
        inode: *mut bindings::inode,
        kind: c_int,
        is_rcu: bool,
    ) -> *mut bindings::posix_acl {
        // RCU path walk does not allow sleeping, and the filesystem can sleep.
        if is_rcu {
            return ECHILD.to_ptr();
        }

        // SAFETY: The VFS passes a valid inode of type `T`.
        let owner = unsafe { Inode::<T>::from_raw(inode) };
        let value = Kind::from_raw(kind).and_then(|kind| owner.fs().attribute(owner, kind.name()));

        match value {
            // SAFETY: The VFS passes a valid inode, so its superblock and the user namespace of the
            // superblock are valid.
            Ok(value) => unsafe {
                bindings::posix_acl_from_xattr(
                    (*(*inode).i_sb).s_user_ns,
                    value.as_ptr().cast(),
                    value.len(),
                )
            },
            Err(ENODATA) => ptr::null_mut(),
            Err(error) => error.to_ptr(),
        }
    }

    /// # Safety
    ///
    /// - Called by `vfs_set_acl()`, `vfs_remove_acl()` and `posix_acl_chmod()` only, with the inode
    ///   of `dentry` locked. The inode is of a superblock of type `T`.
    /// - `acl` is null or valid.
    pub(super) unsafe extern "C" fn set(
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        acl: *mut bindings::posix_acl,
        kind: c_int,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The caller passes a dentry whose inode is of type `T` and locked.
            let inode = unsafe { LockedInode::assume(Inode::<T>::from_raw((*dentry).d_inode)) };

            // SAFETY: `acl` is null or valid by the safety requirements. The caller passes a valid
            // `idmap`.
            unsafe { inode.set_acl(idmap, Kind::from_raw(kind)?, acl) }.map(|()| 0)
        })
    }
}
