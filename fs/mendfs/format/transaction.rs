// SPDX-License-Identifier: GPL-2.0

//! A transaction in the journal.

use super::{
    bytes::{
        put,
        u32_at,
        u64_at, //
    },
    sizes::{
        MAX_METADATA,
        UNITS,
        UNIT_SIZE, //
    },
};

/// The layout of a transaction in a slot of the journal.
///
/// The header has the number of units (`u32` at 40). The addresses of the units follow (`u64`
/// each), padded to a whole unit, and then the units. The checksum of the header covers the whole
/// transaction.
///
/// The units include the header of each metadata block that the transaction changes, with the
/// checksum of the changed block.
pub struct Transaction;

impl Transaction {
    /// The size in bytes of the header and the addresses of `count` units.
    fn head(count: usize) -> usize {
        let addresses = count.saturating_mul(8).saturating_add(UNIT_SIZE - 1);

        (addresses & !(UNIT_SIZE - 1)).saturating_add(UNIT_SIZE)
    }

    /// The size in bytes of a transaction of `count` units.
    pub fn size(count: usize) -> usize {
        Self::head(count).saturating_add(count.saturating_mul(UNIT_SIZE))
    }

    /// The number of units of the transaction in a slot, and its size in bytes; [`None`] if the
    /// size exceeds the slot.
    pub fn count(slot: &[u8]) -> Option<(usize, usize)> {
        // CAST: A `usize` has 64 bits.
        let count = u32_at(slot, 40) as usize;
        let size = Self::size(count);

        (size <= slot.len()).then_some((count, size))
    }

    /// Writes the number of units. The caller seals the slot later, because the checksum covers
    /// the number.
    pub fn set_count(slot: &mut [u8], count: u32) {
        put(slot, 40, &count.to_le_bytes());
    }

    /// Writes unit number `index` of `count`, with its address.
    pub fn set_unit(
        slot: &mut [u8],
        count: usize,
        index: usize,
        address: u64,
        unit: &[u8; UNIT_SIZE],
    ) {
        let at = Self::head(count).saturating_add(index.saturating_mul(UNIT_SIZE));

        put(
            slot,
            UNIT_SIZE.saturating_add(index.saturating_mul(8)),
            &address.to_le_bytes(),
        );
        put(slot, at, unit);
    }

    /// The address and contents of unit number `index` of `count`.
    pub fn unit(slot: &[u8], count: usize, index: usize) -> Option<(u64, &[u8; UNIT_SIZE])> {
        let at = Self::head(count).saturating_add(index.saturating_mul(UNIT_SIZE));
        let address = u64_at(slot, UNIT_SIZE.saturating_add(index.saturating_mul(8)));

        Some((address, slot.get(at..)?.first_chunk()?))
    }

    /// The index of the first unit of `count` whose address is beyond the largest possible
    /// metadata. A transaction with such a unit is invalid as a whole.
    pub fn misplaced(slot: &[u8], count: usize) -> Option<usize> {
        (0..count).find(|index| {
            Self::unit(slot, count, *index)
                .is_none_or(|(address, _)| address / UNITS >= MAX_METADATA)
        })
    }
}
