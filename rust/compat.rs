// SPDX-License-Identifier: GPL-2.0

//! What kernels differ in: this file, and the folder `compat`.
//!
//! All other source is written for Linux 7.3. What the crate `kernel` lacks before that is added to
//! it by `compat/kernel`, and what C headers lack by `compat/before_7_3.h`. Left are structures and
//! functions of C with another shape or another meaning, which the rest of the crate gets by the
//! names here.

#[cfg_attr(daxmf_before_7_3, path = "compat/before_7_3.rs")]
#[cfg_attr(not(daxmf_before_7_3), path = "compat/from_7_3.rs")]
mod version;

pub(crate) use self::version::*;

use kernel::prelude::*;

use crate::bindings;

/// A table of operations of directories with a `create()`.
pub(crate) trait Create {
    /// # Safety
    ///
    /// Called by the VFS only, as `create()` of `struct inode_operations` of Linux 7.3.
    unsafe extern "C" fn create(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
    ) -> c_int;
}
