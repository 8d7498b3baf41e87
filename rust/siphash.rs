// SPDX-License-Identifier: GPL-2.0

//! Keyed hashes of bytes that untrusted users choose.
//!
//! C header: [`include/linux/siphash.h`](srctree/include/linux/siphash.h)

use kernel::prelude::*;

use crate::bindings;

/// A key of SipHash-2-4.
///
/// An attacker who does not have the key cannot find bytes with the same hash, and cannot compute
/// the key from hashes of chosen bytes.
///
/// # Examples
///
/// ```
/// use daxmf::siphash::Key;
///
/// let key = Key::new([1; 16]);
///
/// assert_eq!(key.hash(b"name"), key.hash(b"name"));
/// assert_ne!(key.hash(b"name"), key.hash(b"eman"));
/// assert_ne!(key.hash(b"name"), Key::new([2; 16]).hash(b"name"));
/// ```
///
/// C: `siphash_key_t`
#[derive(Clone, Copy)]
pub struct Key(bindings::siphash_key_t);

impl Key {
    /// Creates the key from bytes, in the order of the reference implementation.
    pub fn new(bytes: [u8; 16]) -> Self {
        // CAST: `as u64` takes the lower half of the number on purpose.
        let key = u128::from_le_bytes(bytes);

        Self(bindings::siphash_key_t {
            key: [key as u64, (key >> 64) as u64],
        })
    }

    /// Returns the hash of `bytes`.
    ///
    /// C: `siphash()`
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        // SAFETY: `siphash()` reads `bytes.len()` bytes of the slice, and the key.
        unsafe { bindings::siphash(bytes.as_ptr().cast::<c_void>(), bytes.len(), &self.0) }
    }
}

#[kunit_tests(daxmf_siphash)]
mod tests {
    use super::*;

    /// Hashes of 0, 1, 2… bytes: `vectors_sip64` of the reference implementation.
    #[test]
    fn reference_vectors() {
        const KEY: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
        const HASHES: [u64; 17] = [
            0x726f_db47_dd0e_0e31,
            0x74f8_39c5_93dc_67fd,
            0x0d6c_8009_d9a9_4f5a,
            0x8567_6696_d7fb_7e2d,
            0xcf27_94e0_2771_87b7,
            0x1876_5564_cd99_a68d,
            0xcbc9_466e_58fe_e3ce,
            0xab02_00f5_8b01_d137,
            0x93f5_f579_9a93_2462,
            0x9e00_82df_0ba9_e4b0,
            0x7a5d_bbc5_94dd_b9f3,
            0xf4b3_2f46_226b_ada7,
            0x751e_8fbc_860e_e5fb,
            0x14ea_5627_c084_3d90,
            0xf723_ca90_8e7a_f2ee,
            0xa129_ca61_49be_45e5,
            0x3f2a_cc7f_57c2_9bdb,
        ];
        let bytes: [u8; 16] = KEY;

        for (len, hash) in HASHES.into_iter().enumerate() {
            assert_eq!(
                bytes.get(..len).map(|bytes| Key::new(KEY).hash(bytes)),
                Some(hash)
            );
        }
    }
}
