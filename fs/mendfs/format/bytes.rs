// SPDX-License-Identifier: GPL-2.0

//! Little-endian numbers, at their places in a structure.

pub(super) fn u8_at(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..)
        .and_then(|bytes| bytes.first_chunk())
        .map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..)
        .and_then(|bytes| bytes.first_chunk())
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Puts `value` at `at`, as far as there is room.
#[inline]
pub(super) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    let room = bytes.get_mut(at..).unwrap_or(&mut []);
    let len = value.len().min(room.len());

    // Where the length is known, there is a copy of this length and no loop.
    match room.get_mut(..value.len()) {
        Some(room) => room.copy_from_slice(value),
        None => room.copy_from_slice(value.get(..len).unwrap_or(&[])),
    }
}
