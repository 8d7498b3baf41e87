// SPDX-License-Identifier: GPL-2.0

//! Differences between kernel versions. All of them are in this file and in the folder `compat`.
//!
//! All other source is written for Linux 7.3. For older kernels, `compat/kernel` adds to the crate
//! `kernel` what 7.3 added, and `compat/before_7_3.h` does so for C headers. This file covers C
//! structures and functions that changed: the rest of the crate uses the names here.

#[cfg_attr(daxmf_before_7_3, path = "compat/before_7_3.rs")]
#[cfg_attr(not(daxmf_before_7_3), path = "compat/from_7_3.rs")]
mod version;

pub(crate) use self::version::*;

use kernel::prelude::*;

use crate::bindings;

/// Implemented by tables of directory operations that have a `create()`.
pub(crate) trait Create {
    /// # Safety
    ///
    /// Only the VFS may call this, as `create()` of `struct inode_operations` of Linux 7.3.
    unsafe extern "C" fn create(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
    ) -> c_int;
}
