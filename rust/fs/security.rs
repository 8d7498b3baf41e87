// SPDX-License-Identifier: GPL-2.0

//! Extended attributes of security modules for new inodes.
//!
//! C header: [`include/linux/security.h`](srctree/include/linux/security.h)

use core::{
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
    new_inode::NewInode,
    xattr::SECURITY,
    FileSystem,
    Inode,
    Label, //
};

/// The attribute of EVM. Its value depends on the inode number, which is not known before the inode
/// is created. So an inode is created without this attribute.
const EVM: &[u8] = b"evm";

impl<T: FileSystem> NewInode<T> {
    /// The extended attributes with which the inode is created in `directory`, by the name `name`
    /// or without one. Call this before [`attributes()`](Self::attributes), because it can change
    /// the mode.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    /// - The errors of [`acls()`](Self::acls) and of security modules.
    ///
    /// C: `security_inode_init_security()`
    pub(super) fn labels(
        &self,
        directory: &Inode<T>,
        name: Option<&bindings::qstr>,
    ) -> Result<KVec<Label>> {
        let mut labels = self.acls(directory)?;

        // SAFETY: `self` and `directory` are valid inodes by their type invariants, and `name` is
        // null or valid. `collect()` receives a `KVec<Label>`, for the duration of the call.
        to_result(unsafe {
            bindings::security_inode_init_security(
                self.as_raw(),
                directory.as_raw(),
                name.map_or(ptr::null(), ptr::from_ref),
                Some(collect),
                ptr::from_mut(&mut labels).cast(),
            )
        })?;
        Ok(labels)
    }
}

/// # Safety
///
/// Called by `security_inode_init_security()` only, with an array of attributes that ends with one
/// without a name, and with a `KVec<Label>`.
unsafe extern "C" fn collect(
    _inode: *mut bindings::inode,
    attributes: *const bindings::xattr,
    labels: *mut c_void,
) -> c_int {
    from_result(|| {
        // SAFETY: `labels` points to a `KVec<Label>` by the safety requirements, with no other
        // user.
        let labels = unsafe { &mut *labels.cast::<KVec<Label>>() };
        let mut next = attributes;

        // SAFETY: `next` is not after the last attribute, whose name is null, by the safety
        // requirements.
        while let Some(attribute) = unsafe { next.as_ref() }.filter(|it| !it.name.is_null()) {
            // SAFETY: The name is a C string, and the value has `value_len` bytes.
            let (name, value) = unsafe {
                (
                    CStr::from_char_ptr(attribute.name).to_bytes(),
                    slice::from_raw_parts(attribute.value.cast::<u8>(), attribute.value_len),
                )
            };

            if name != EVM {
                labels.push(Label::new(SECURITY.to_bytes(), name, value)?, GFP_KERNEL)?;
            }
            next = next.wrapping_add(1);
        }
        Ok(0)
    })
}
