// SPDX-License-Identifier: GPL-2.0

//! Linux 7.2.

use kernel::{
    error::to_result,
    prelude::*, //
};

use crate::bindings;

use super::Create;

/// How many bytes of its current entry an iterator is past.
pub(crate) const fn bvec_offset(iter: &bindings::bvec_iter) -> u32 {
    iter.bi_bvec_done
}

/// Moves an iterator to the first byte of its current entry.
pub(crate) fn rewind_bvec(iter: &mut bindings::bvec_iter) {
    iter.bi_bvec_done = 0;
}

/// The `create()` of `struct inode_operations`.
pub(crate) const fn create_callback<T: Create>() -> CreateFn {
    create::<T>
}

pub(crate) type CreateFn = unsafe extern "C" fn(
    *mut bindings::mnt_idmap,
    *mut bindings::inode,
    *mut bindings::dentry,
    bindings::umode_t,
    bool,
) -> c_int;

/// The VFS has looked the name up under the lock of the directory, so that it does not matter
/// whether an existing file would be an error.
///
/// # Safety
///
/// Called by the VFS only, as `create()` of `struct inode_operations`.
unsafe extern "C" fn create<T: Create>(
    idmap: *mut bindings::mnt_idmap,
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
    mode: bindings::umode_t,
    _excl: bool,
) -> c_int {
    // SAFETY: By the safety requirements. But for `_excl`, those of 7.3 are the same.
    unsafe { T::create(idmap, dir, dentry, mode) }
}

/// Checks what `dax_remap_file_range_prep()` returned.
///
/// If contents cannot be compared because they cannot be read, `dax_dedupe_file_range_compare()`
/// returns the 1 of its iterator where it should return the error. Whoever takes that for success
/// shares contents that nobody has compared.
///
/// # Errors
///
/// - What it returned, `EIO` if contents could not be compared.
pub(crate) fn check_remap_prep(result: c_int) -> Result {
    match result {
        1.. => Err(EIO),
        _ => to_result(result),
    }
}
