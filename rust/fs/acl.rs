// SPDX-License-Identifier: GPL-2.0

//! Access control lists. A filesystem keeps them as extended attributes, in the form that programs
//! know.
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

/// Which list of an inode.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// That of the inode itself.
    Access,
    /// That of what is created in it, a directory.
    Default,
}

impl Kind {
    /// # Errors
    ///
    /// - `EINVAL` if there is no such kind.
    fn from_raw(kind: c_int) -> Result<Self> {
        // CAST: What is negative is none of them.
        match kind as u32 {
            bindings::ACL_TYPE_ACCESS => Ok(Self::Access),
            bindings::ACL_TYPE_DEFAULT => Ok(Self::Default),
            _ => Err(EINVAL),
        }
    }

    /// The name of the attribute.
    const fn name(self) -> &'static [u8] {
        match self {
            Self::Access => b"system.posix_acl_access",
            Self::Default => b"system.posix_acl_default",
        }
    }
}

/// A list.
///
/// # Invariants
///
/// It is null, or `self` owns a reference to it.
struct Acl(*mut bindings::posix_acl);

impl Drop for Acl {
    fn drop(&mut self) {
        // SAFETY: By the type invariants. Nothing happens if it is null.
        unsafe { bindings::posix_acl_release(self.0) };
    }
}

/// A list in the form of an attribute.
///
/// # Invariants
///
/// `bytes` is memory of `kmalloc()`, with so many bytes that are initialized.
struct Value {
    bytes: *mut u8,
    len: usize,
}

impl Value {
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    ///
    /// # Safety
    ///
    /// `acl` must be valid, and `inode` an inode.
    unsafe fn new(inode: *mut bindings::inode, acl: *const bindings::posix_acl) -> Result<Self> {
        let mut len = 0;

        // SAFETY: By the safety requirements; a superblock has a user namespace.
        let bytes = unsafe {
            bindings::posix_acl_to_xattr(
                (*(*inode).i_sb).s_user_ns,
                acl,
                &mut len,
                bindings::GFP_KERNEL,
            )
        };

        // INVARIANT: That is what `posix_acl_to_xattr()` returns, unless it is null.
        match bytes.is_null() {
            true => Err(ENOMEM),
            false => Ok(Self {
                bytes: bytes.cast(),
                len,
            }),
        }
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: By the type invariants.
        unsafe { slice::from_raw_parts(self.bytes, self.len) }
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::kfree(self.bytes.cast()) };
    }
}

impl<T: FileSystem> NewInode<T> {
    /// The lists that the inode is to be created with in `directory`, as attributes. The mode loses
    /// what they, or the umask, do not grant: it is to be asked for after this.
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

        // SAFETY: Both inodes are valid, and nobody else knows the new one.
        to_result(unsafe {
            bindings::posix_acl_create(
                directory.as_raw(),
                &raw mut (*inode).i_mode,
                &mut default,
                &mut access,
            )
        })?;

        // INVARIANT: Each is null, or a list with a reference that is ours.
        for (kind, acl) in [(Kind::Default, Acl(default)), (Kind::Access, Acl(access))] {
            if !acl.0.is_null() {
                // SAFETY: Both are valid.
                let value = unsafe { Value::new(inode, acl.0) }?;

                labels.push(Label::new(b"", kind.name(), value.bytes())?, GFP_KERNEL)?;
            }
        }
        if labels.is_empty() {
            // SAFETY: Nobody else knows the inode.
            unsafe { bindings::cache_no_acl(inode) };
        }
        Ok(labels)
    }
}

impl<T: FileSystem> LockedInode<T> {
    /// Sets a list, or removes it if it is null, and the mode that goes with it.
    ///
    /// # Errors
    ///
    /// - `EACCES` if it is a list for what is created in something that is no directory.
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
        // CAST: The upper half of a mode is not used.
        let mut mode = self.mode() as bindings::umode_t;

        if kind == Kind::Default && !self.is(bindings::S_IFDIR) {
            return match acl.is_null() {
                true => Ok(()),
                false => Err(EACCES),
            };
        }
        if kind == Kind::Access && !acl.is_null() {
            // SAFETY: By the safety requirements. Where the mode says as much as the list, that
            // becomes null.
            to_result(unsafe {
                bindings::posix_acl_update_mode(idmap, inode, &mut mode, &mut acl)
            })?;
        }

        let value = (!acl.is_null())
            // SAFETY: By the safety requirements.
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
        // SAFETY: The inode is valid, and the list is null or valid.
        unsafe { bindings::set_cached_acl(inode, kind.as_raw(), acl) };
        self.refresh();

        match u32::from(mode) == self.mode() {
            true => Ok(()),
            false => self.change_mode(mode),
        }
    }
}

impl Kind {
    // CAST: They are small.
    const fn as_raw(self) -> c_int {
        match self {
            Self::Access => bindings::ACL_TYPE_ACCESS as c_int,
            Self::Default => bindings::ACL_TYPE_DEFAULT as c_int,
        }
    }
}

/// The operations that all types of inodes have but symbolic links.
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
        // To ask the filesystem sleeps.
        if is_rcu {
            return ECHILD.to_ptr();
        }

        // SAFETY: By the safety requirements.
        let owner = unsafe { Inode::<T>::from_raw(inode) };
        let value = Kind::from_raw(kind).and_then(|kind| owner.fs().attribute(owner, kind.name()));

        match value {
            // SAFETY: The inode is valid, and so is its superblock's user namespace.
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
    /// - Called by `vfs_set_acl()`, `vfs_remove_acl()` and `posix_acl_chmod()` only, with the lock
    ///   of the inode of `dentry` held, which is one of a superblock of type `T`.
    /// - `acl` is null or valid.
    pub(super) unsafe extern "C" fn set(
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        acl: *mut bindings::posix_acl,
        kind: c_int,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
            let inode = unsafe { LockedInode::assume(Inode::<T>::from_raw((*dentry).d_inode)) };

            // SAFETY: By the safety requirements.
            unsafe { inode.set_acl(idmap, Kind::from_raw(kind)?, acl) }.map(|()| 0)
        })
    }
}
