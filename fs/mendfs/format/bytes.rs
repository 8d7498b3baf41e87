// SPDX-License-Identifier: GPL-2.0

//! Reads and writes little-endian numbers and bytes at an offset of a structure.

/// The `N` bytes at offset `at`; zeroes if the structure ends earlier.
pub(super) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes
        .get(at..)
        .and_then(|bytes| bytes.first_chunk())
        .copied()
        .unwrap_or([0; N])
}

pub(super) fn u8_at(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

/// Writes `value` at offset `at` if it fits. The length is a constant, so that the compiler emits a
/// few stores and no call.
pub(super) fn put<const N: usize>(bytes: &mut [u8], at: usize, value: &[u8; N]) {
    if let Some(room) = bytes.get_mut(at..).and_then(|room| room.first_chunk_mut()) {
        *room = *value;
    }
}

/// Writes text at offset `at`. The end of the structure truncates it.
pub(super) fn put_text(bytes: &mut [u8], at: usize, text: &[u8]) {
    for (to, from) in bytes.get_mut(at..).unwrap_or(&mut []).iter_mut().zip(text) {
        *to = *from;
    }
}
