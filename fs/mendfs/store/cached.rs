// SPDX-License-Identifier: GPL-2.0

//! A chunk of the metadata in memory, with the masks of its used units.

use kernel::alloc::KVVec;

use crate::format::{
    Chunk,
    UNITS, //
};

/// The bit of the header in [`CachedChunk::used`].
pub(super) const HEADER: u64 = 1;

/// The bit of the last unit. In the last block of a chunk, that is the record of the next chunk.
pub(super) const LINK: u64 = 1 << (UNITS - 1);

/// A mask with a bit for each of `len` units from unit `first` on.
pub(super) fn mask(first: u64, len: u64) -> u64 {
    let units = match len {
        0..=63 => (1_u64 << len).wrapping_sub(1),
        _ => u64::MAX,
    };

    // CAST: A block has 64 units.
    units.wrapping_shl((first % UNITS) as u32)
}

/// The first unit of the first free run of `len` units in a block. `used` is the mask of the used
/// units of the block.
pub(super) fn find_free(used: u64, len: u64) -> Option<u64> {
    let mut starts = !used;

    for distance in 1..len.min(UNITS) {
        // CAST: Less than 64.
        starts &= !used >> distance as u32;
        if starts == 0 {
            return None;
        }
    }
    // The shifts fill the top with zeroes, so that no run crosses the end of the block.
    (starts != 0 && len < UNITS).then(|| starts.trailing_zeros().into())
}

/// A chunk in memory.
pub(super) struct CachedChunk {
    pub(super) chunk: Chunk,
    /// The number of the previous chunk, whose last unit is the record of this chunk.
    pub(super) previous: u64,
    /// The number of the next chunk, whose record is the last unit of this chunk.
    pub(super) next: Option<u64>,
    /// For each block, a mask of its used units.
    pub(super) used: KVVec<u64>,
    /// Number of units that records fill, without the record of the next chunk.
    pub(super) count: u64,
}

impl CachedChunk {
    /// Number of units for records, without the last unit.
    pub(super) fn units(&self) -> u64 {
        // CAST: A `usize` has 64 bits.
        let blocks = self.used.len() as u64;

        blocks.saturating_mul(UNITS - 1).saturating_sub(1)
    }

    pub(super) fn is_full(&self) -> bool {
        self.count == self.units()
    }
}
