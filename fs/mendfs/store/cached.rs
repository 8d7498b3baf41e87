// SPDX-License-Identifier: GPL-2.0

//! A chunk of the metadata, and which of its units are free.

use kernel::alloc::KVVec;

use crate::format::{
    Chunk,
    UNITS, //
};

/// The bit of the header in [`CachedChunk::used`].
pub(super) const HEADER: u64 = 1;

/// The bit of the last unit, which in the last block of a chunk is the record of the next chunk.
pub(super) const LINK: u64 = 1 << (UNITS - 1);

/// `len` units from unit `first` on, a bit for each.
pub(super) fn mask(first: u64, len: u64) -> u64 {
    let units = match len {
        0..=63 => (1_u64 << len).wrapping_sub(1),
        _ => u64::MAX,
    };

    // CAST: The number of a unit in its block.
    units.wrapping_shl((first % UNITS) as u32)
}

/// The first of `len` units in a row that are free.
pub(super) fn find_free(used: u64, len: u64) -> Option<u64> {
    let mut starts = !used;

    for distance in 1..len.min(UNITS) {
        // CAST: Less than 64.
        starts &= !used >> distance as u32;
        if starts == 0 {
            return None;
        }
    }
    // What was shifted in at the top are zeroes: no run reaches beyond the block.
    (starts != 0 && len < UNITS).then(|| starts.trailing_zeros().into())
}

/// A chunk, with what is kept of it in memory.
pub(super) struct CachedChunk {
    pub(super) chunk: Chunk,
    /// The chunk that has its record, and the one that it has the record of.
    pub(super) before: u64,
    pub(super) next: Option<u64>,
    /// For each block its units that are not free, a bit for each.
    pub(super) used: KVVec<u64>,
    /// Number of units that records have, but those of chunks.
    pub(super) count: u64,
}

impl CachedChunk {
    /// Number of units for records.
    pub(super) fn units(&self) -> u64 {
        // CAST: A `usize` is a `u64`.
        let blocks = self.used.len() as u64;

        blocks.saturating_mul(UNITS - 1).saturating_sub(1)
    }

    pub(super) fn is_full(&self) -> bool {
        self.count == self.units()
    }
}
