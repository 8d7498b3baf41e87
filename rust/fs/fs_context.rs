// SPDX-License-Identifier: GPL-2.0

//! The context of a mount in preparation.
//!
//! C header: [`include/linux/fs_context.h`](srctree/include/linux/fs_context.h)

use core::{
    fmt,
    ptr::{
        self,
        NonNull, //
    },
};

use kernel::prelude::*;

use crate::bindings;

/// The context of a mount in preparation.
///
/// # Invariants
///
/// `self.0` points to a valid `struct fs_context`.
pub(super) struct Context(NonNull<bindings::fs_context>);

impl Context {
    /// Borrows a context from C.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if the pointer is null.
    ///
    /// # Safety
    ///
    /// `context` must be null, or valid for as long as the returned value exists.
    pub(super) unsafe fn from_raw(context: *mut bindings::fs_context) -> Result<Self> {
        // INVARIANT: `context` is valid by the safety requirements.
        NonNull::new(context).map(Self).ok_or(EINVAL)
    }

    /// Writes an error to the log of the context, which `mount` reads.
    ///
    /// C: `errorfc()`
    pub(super) fn error(&self, what: fmt::Arguments<'_>) {
        // SAFETY: `self.0` points to a valid `struct fs_context` by the type invariants. `%pA`
        // takes a pointer to `fmt::Arguments`, and `logfc()` formats it before it returns.
        unsafe {
            let log = &raw const (*self.0.as_ptr()).log;

            bindings::logfc(
                (*log).log,
                (*log).prefix,
                b'e' as c_char,
                c"%pA".as_char_ptr(),
                ptr::from_ref(&what).cast::<c_void>(),
            );
        }
    }
}

/// Parses the mount options `dax` and `dax=always`, which XFS and ext4 accept, too. The options
/// change nothing, because DAX is always on.
///
/// # Errors
///
/// - `ENOPARAM` if `param` is another option.
/// - `EINVAL` if the value of `dax` is not `always`.
///
/// # Safety
///
/// `param` must point to a valid `struct fs_parameter`.
pub(super) unsafe fn parse(context: &Context, param: *const bindings::fs_parameter) -> Result {
    // SAFETY: `param` is valid by the safety requirements. `vfs_parse_fs_param()` rejects a null
    // key.
    let key = unsafe { CStr::from_char_ptr((*param).key) };

    if key.to_bytes() != b"dax" {
        return Err(ENOPARAM);
    }

    // SAFETY: `param` is valid by the safety requirements. For this type `string` is the active
    // field of the union.
    let is_always = unsafe {
        match (*param).type_() {
            bindings::fs_value_type_fs_value_is_flag => true,
            bindings::fs_value_type_fs_value_is_string => {
                CStr::from_char_ptr((*param).__bindgen_anon_1.string).to_bytes() == b"always"
            }
            _ => false,
        }
    };

    if !is_always {
        context.error(fmt!("dax: only dax=always is supported"));
        return Err(EINVAL);
    }
    Ok(())
}
