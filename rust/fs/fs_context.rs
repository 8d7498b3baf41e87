// SPDX-License-Identifier: GPL-2.0

//! Mounts that are being prepared.
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

/// A mount that is being prepared.
///
/// # Invariants
///
/// `self.0` is a valid `struct fs_context`.
pub(super) struct Context(NonNull<bindings::fs_context>);

impl Context {
    /// # Errors
    ///
    /// - `EINVAL` if the pointer is null.
    ///
    /// # Safety
    ///
    /// `context` must be null, or valid as long as what is returned.
    pub(super) unsafe fn from_raw(context: *mut bindings::fs_context) -> Result<Self> {
        // INVARIANT: By the safety requirements.
        NonNull::new(context).map(Self).ok_or(EINVAL)
    }

    /// Tells who mounts what went wrong.
    ///
    /// C: `errorfc()`
    pub(super) fn error(&self, what: fmt::Arguments<'_>) {
        // SAFETY: By the type invariants. `%pA` takes a pointer to `fmt::Arguments`, and `%s` a C
        // string.
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

/// The options that XFS and ext4 have for DAX, and that go without saying here.
///
/// # Errors
///
/// - `ENOPARAM` if it is another option.
/// - `EINVAL` if it says that there should be no DAX.
///
/// # Safety
///
/// `param` must be valid.
pub(super) unsafe fn parse(context: &Context, param: *const bindings::fs_parameter) -> Result {
    // SAFETY: By the safety requirements. A parameter has a key, see `vfs_parse_fs_param()`.
    let key = unsafe { CStr::from_char_ptr((*param).key) };

    if key.to_bytes() != b"dax" {
        return Err(ENOPARAM);
    }

    // SAFETY: By the safety requirements. The type tells whether there is a string.
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
        context.error(fmt!("dax is always, and cannot be otherwise"));
        return Err(EINVAL);
    }
    Ok(())
}
