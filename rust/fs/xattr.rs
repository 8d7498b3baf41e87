// SPDX-License-Identifier: GPL-2.0

//! Extended attributes.
//!
//! C header: [`include/linux/xattr.h`](srctree/include/linux/xattr.h)

use core::{
    marker::PhantomData,
    mem::MaybeUninit,
    ptr,
    slice, //
};

use kernel::{
    error::from_result,
    prelude::*,
    str::as_char_ptr_in_const_context, //
};

use crate::bindings;

use super::{
    lock::LockedInode,
    FileSystem,
    Inode, //
};

const USER: &CStr = c"user.";
const TRUSTED: &CStr = c"trusted.";
pub(super) const SECURITY: &CStr = c"security.";

/// The full name of an attribute, with its namespace.
///
/// # Safety
///
/// `handler` and `name` must be the arguments with which the VFS calls a handler, for the duration
/// of `'a`.
unsafe fn full_name<'a>(handler: *const bindings::xattr_handler, name: *const c_char) -> &'a [u8] {
    // SAFETY: `handler` and `name` are from the VFS by the safety requirements. `xattr_full_name()`
    // requires that the prefix of `name` directly precedes `name`, and the VFS passes such a
    // `name`.
    unsafe { CStr::from_char_ptr(bindings::xattr_full_name(handler, name)) }.to_bytes()
}

/// An uninitialized buffer of the VFS. Without `bytes`, the VFS queries the required length only.
struct Buffer<'a> {
    bytes: Option<&'a mut [MaybeUninit<u8>]>,
    len: usize,
}

impl<'a> Buffer<'a> {
    /// Wraps a buffer from C.
    ///
    /// # Safety
    ///
    /// `buffer` must be valid for writes of `size` bytes for the duration of `'a`, unless `size` is
    /// 0.
    unsafe fn new(buffer: *mut MaybeUninit<u8>, size: usize) -> Self {
        let bytes = (size != 0 && !buffer.is_null())
            // SAFETY: `buffer` is valid for writes of `size` bytes for `'a` by the safety
            // requirements.
            .then(|| unsafe { slice::from_raw_parts_mut(buffer, size) });

        Self { bytes, len: 0 }
    }

    /// Appends bytes.
    ///
    /// # Errors
    ///
    /// - `ERANGE` if the buffer is too small.
    fn push(&mut self, from: &[u8]) -> Result {
        let end = self.len.checked_add(from.len()).ok_or(ERANGE)?;

        if let Some(bytes) = &mut self.bytes {
            let room = bytes.get_mut(self.len..end).ok_or(ERANGE)?;

            for (to, from) in room.iter_mut().zip(from) {
                to.write(*from);
            }
        }
        self.len = end;
        Ok(())
    }
}

/// The handlers of `T`, and its `listxattr()`.
pub(super) struct VTable<T: FileSystem>(PhantomData<T>);

impl<T: FileSystem> VTable<T> {
    /// # Safety
    ///
    /// - Called by the VFS only, for an inode of a superblock of type `T`.
    /// - `buffer` is valid for writes of `size` bytes.
    unsafe extern "C" fn get(
        handler: *const bindings::xattr_handler,
        _dentry: *mut bindings::dentry,
        inode: *mut bindings::inode,
        name: *const c_char,
        buffer: *mut c_void,
        size: usize,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The VFS passes a valid inode of type `T`, and the name of the handler.
            // `buffer` is valid for writes of `size` bytes.
            let (inode, name, mut buffer) = unsafe {
                (
                    Inode::<T>::from_raw(inode),
                    full_name(handler, name),
                    Buffer::new(buffer.cast(), size),
                )
            };

            buffer.push(&inode.fs().attribute(inode, name)?)?;
            Ok(c_int::try_from(buffer.len)?)
        })
    }

    /// # Safety
    ///
    /// - Called by the VFS only, with `inode` locked, which is of a superblock of type `T`.
    /// - `value` is null, or valid for reads of `size` bytes.
    unsafe extern "C" fn set(
        handler: *const bindings::xattr_handler,
        _idmap: *mut bindings::mnt_idmap,
        _dentry: *mut bindings::dentry,
        inode: *mut bindings::inode,
        name: *const c_char,
        value: *const c_void,
        size: usize,
        flags: c_int,
    ) -> c_int {
        // CAST: The flags are single bits, and none is the sign bit.
        let must_exist = match flags as u32 {
            flags if flags & bindings::XATTR_CREATE != 0 => Some(false),
            flags if flags & bindings::XATTR_REPLACE != 0 => Some(true),
            _ => None,
        };

        from_result(|| {
            // SAFETY: The VFS passes a locked inode of type `T`, and the name of the handler.
            let (inode, name) = unsafe {
                (
                    LockedInode::assume(Inode::<T>::from_raw(inode)),
                    full_name(handler, name),
                )
            };
            let value = (!value.is_null())
                // SAFETY: `value` is valid for reads of `size` bytes by the safety requirements.
                .then(|| unsafe { slice::from_raw_parts(value.cast::<u8>(), size) });

            inode
                .fs()
                .set_attribute(inode, name, value, must_exist, inode.now())?;
            inode.refresh();
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// - Called by `vfs_listxattr()` only, for a dentry of an inode of a superblock of type `T`.
    /// - `buffer` is valid for writes of `size` bytes.
    pub(super) unsafe extern "C" fn listxattr(
        dentry: *mut bindings::dentry,
        buffer: *mut c_char,
        size: usize,
    ) -> isize {
        // SAFETY: `vfs_listxattr()` passes a dentry of an inode of type `T`. `buffer` is valid for
        // writes of `size` bytes.
        let (inode, mut buffer) = unsafe {
            (
                Inode::<T>::from_raw((*dentry).d_inode),
                Buffer::new(buffer.cast(), size),
            )
        };
        // CAST: `CAP_SYS_ADMIN` is below 64.
        // SAFETY: `current` has credentials.
        let is_trusted = unsafe { bindings::capable(bindings::CAP_SYS_ADMIN as c_int) };

        let result = inode.fs().attributes(inode, &mut |name| {
            if !is_trusted && name.starts_with(TRUSTED.to_bytes()) {
                return Ok(());
            }
            buffer.push(name)?;
            buffer.push(&[0])?;
            // No program can get a longer list. Without this check, a user could have the
            // filesystem visit any number of attributes while others wait.
            match buffer.len > bindings::XATTR_LIST_MAX as usize {
                true => Err(E2BIG),
                false => Ok(()),
            }
        });

        match result {
            Ok(()) => isize::try_from(buffer.len).unwrap_or(isize::MAX),
            // CAST: An errno fits into every integer type.
            Err(error) => error.to_errno() as isize,
        }
    }

    const fn handler(prefix: &'static CStr) -> bindings::xattr_handler {
        bindings::xattr_handler {
            name: ptr::null(),
            prefix: as_char_ptr_in_const_context(prefix),
            flags: 0,
            list: None,
            get: Some(Self::get),
            set: Some(Self::set),
        }
    }

    const USER: bindings::xattr_handler = Self::handler(USER);
    const TRUSTED: bindings::xattr_handler = Self::handler(TRUSTED);
    const SECURITY: bindings::xattr_handler = Self::handler(SECURITY);

    /// The handlers, terminated by a null pointer.
    pub(super) const HANDLERS: &'static [*const bindings::xattr_handler; 4] =
        &[&Self::USER, &Self::TRUSTED, &Self::SECURITY, ptr::null()];
}
