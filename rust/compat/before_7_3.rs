// SPDX-License-Identifier: GPL-2.0

//! The interfaces of Linux 7.2.

use kernel::{
    error::to_result,
    prelude::*, //
};

use crate::bindings;

use super::Create;

/// Returns the offset of an iterator in its current entry, in bytes.
pub(crate) const fn bvec_offset(iter: &bindings::bvec_iter) -> u32 {
    iter.bi_bvec_done
}

/// Moves an iterator to the first byte of its current entry.
pub(crate) fn rewind_bvec(iter: &mut bindings::bvec_iter) {
    iter.bi_bvec_done = 0;
}

/// Returns the `create()` of `struct inode_operations` for `T`.
pub(crate) const fn create_callback<T: Create>() -> CreateFn {
    create::<T>
}

/// The type of `create()` of `struct inode_operations`.
pub(crate) type CreateFn = unsafe extern "C" fn(
    *mut bindings::mnt_idmap,
    *mut bindings::inode,
    *mut bindings::dentry,
    bindings::umode_t,
    bool,
) -> c_int;

/// Ignores `_excl`: the VFS has looked up the name under the lock of the directory, so the file
/// does not exist.
///
/// # Safety
///
/// Only the VFS may call this, as `create()` of `struct inode_operations`.
unsafe extern "C" fn create<T: Create>(
    idmap: *mut bindings::mnt_idmap,
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
    mode: bindings::umode_t,
    _excl: bool,
) -> c_int {
    // SAFETY: The VFS passes the arguments of `create()` by the safety requirements. Linux 7.3
    // passes the same ones, without `_excl`.
    unsafe { T::create(idmap, dir, dentry, mode) }
}

/// Checks what `dax_remap_file_range_prep()` returned.
///
/// If the contents cannot be read, `dax_dedupe_file_range_compare()` of Linux 7.2 returns 1, the
/// return value of its iterator, instead of the error. A caller that treats 1 as success would
/// share extents that were not compared.
///
/// # Errors
///
/// - `EIO` if the contents could not be compared.
/// - The errno that the C function returned.
pub(crate) fn check_remap_prep(result: c_int) -> Result {
    match result {
        1.. => Err(EIO),
        _ => to_result(result),
    }
}
