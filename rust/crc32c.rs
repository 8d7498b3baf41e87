// SPDX-License-Identifier: GPL-2.0

//! Checksums.
//!
//! C header: [`include/linux/crc32.h`](srctree/include/linux/crc32.h)

use kernel::prelude::*;

use crate::bindings;

/// The CRC-32C of `bytes`, as iSCSI, ext4 and XFS compute it.
///
/// # Examples
///
/// ```
/// use daxmf::crc32c::crc32c;
///
/// assert_eq!(crc32c(b"123456789"), 0xe306_9283);
/// ```
///
/// C: `crc32c()`
pub fn crc32c(bytes: &[u8]) -> u32 {
    // SAFETY: `crc32c()` reads `bytes.len()` bytes of the slice.
    !unsafe { bindings::crc32c(u32::MAX, bytes.as_ptr().cast::<c_void>(), bytes.len()) }
}
