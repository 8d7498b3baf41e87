// SPDX-License-Identifier: GPL-2.0

//! The targets of symbolic links.

use kernel::prelude::*;

use crate::bindings;

/// The target of a symbolic link, as a C string.
pub(super) struct Link(KVec<u8>);

impl Link {
    /// Copies `target`, and adds a NUL.
    ///
    /// # Errors
    ///
    /// - The errors of [`new()`](Self::new).
    pub(super) fn copy(target: &[u8]) -> Result<Self> {
        let mut copy = KVec::with_capacity(target.len().saturating_add(1), GFP_KERNEL)?;

        copy.extend_from_slice(target, GFP_KERNEL)?;
        Self::new(copy)
    }

    /// Adds a NUL to `target`.
    ///
    /// # Errors
    ///
    /// - `EUCLEAN` if `target` is empty, too long, or has a zero.
    /// - `ENOMEM` if memory is short.
    pub(super) fn new(mut target: KVec<u8>) -> Result<Self> {
        // CAST: `PATH_MAX` is 4096.
        if target.is_empty() || target.len() >= bindings::PATH_MAX as usize || target.contains(&0) {
            return Err(EUCLEAN);
        }

        target.push(0, GFP_KERNEL)?;
        Ok(Self(target))
    }

    /// Returns the C string. The caller frees it with `kfree()`.
    pub(super) fn into_raw(self) -> *mut c_char {
        self.0.into_raw_parts().0.cast()
    }
}
