// SPDX-License-Identifier: GPL-2.0

//! The interfaces of Linux 7.3.

use kernel::{
    error::to_result,
    prelude::*, //
};

use crate::bindings;

use super::Create;

/// Returns the offset of an iterator in its current entry, in bytes.
pub(crate) const fn bvec_offset(iter: &bindings::bvec_iter) -> u32 {
    iter.bi_offset
}

/// Moves an iterator to the first byte of its current entry.
pub(crate) fn rewind_bvec(iter: &mut bindings::bvec_iter) {
    iter.bi_offset = 0;
}

/// Returns the `create()` of `struct inode_operations` for `T`.
pub(crate) const fn create_callback<T: Create>() -> CreateFn {
    T::create
}

/// The type of `create()` of `struct inode_operations`.
pub(crate) type CreateFn = unsafe extern "C" fn(
    *mut bindings::mnt_idmap,
    *mut bindings::inode,
    *mut bindings::dentry,
    bindings::umode_t,
) -> c_int;

/// Checks what `dax_remap_file_range_prep()` returned.
///
/// # Errors
///
/// - The errno that the C function returned.
pub(crate) fn check_remap_prep(result: c_int) -> Result {
    to_result(result)
}
