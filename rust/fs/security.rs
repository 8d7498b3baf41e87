// SPDX-License-Identifier: GPL-2.0

//! What security modules have to say of a new inode.
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

/// Has a hash of the inode's number, which nobody knows before the inode is there.
const EVM: &[u8] = b"evm";

impl<T: FileSystem> NewInode<T> {
    /// The extended attributes that the inode is to be created with in `directory`, by the name
    /// `name` or without one. This comes before its [`attributes()`](Self::attributes), for the
    /// mode may change.
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

        // SAFETY: Both inodes are valid, and so is the name. `collect()` gets the vector that it
        // expects, for the duration of the call.
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
/// Called by `security_inode_init_security()` only, with attributes that end with one without a
/// name, and with a `KVec<Label>`.
unsafe extern "C" fn collect(
    _inode: *mut bindings::inode,
    attributes: *const bindings::xattr,
    labels: *mut c_void,
) -> c_int {
    from_result(|| {
        // SAFETY: By the safety requirements.
        let labels = unsafe { &mut *labels.cast::<KVec<Label>>() };
        let mut next = attributes;

        // SAFETY: By the safety requirements: this is not behind the last one.
        while let Some(attribute) = unsafe { next.as_ref() }.filter(|it| !it.name.is_null()) {
            // SAFETY: The name is a C string, and the value has so many bytes.
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
