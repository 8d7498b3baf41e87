// SPDX-License-Identifier: GPL-2.0

//! The table of records as readers see it.
//!
//! Each metadata block with a record is cached, with the contents that it has on the media. The
//! cached block is authoritative: after the mount, no record is read from the media again.

use core::mem;

use daxmf::fs::Volume;
use kernel::{
    alloc::KVVec,
    prelude::*,
    sync::Arc, //
};

use crate::{
    damage::report_damage,
    format::{
        Block,
        Fault,
        Geometry,
        Record,
        UNITS,
        UNIT_SIZE, //
    },
};

/// The contents of a unit.
pub(crate) type Unit = [u8; UNIT_SIZE];

/// The cached blocks of a chunk; [`None`] for a block that has had no record since the mount. Each
/// block is an allocation of its own of 4096 bytes.
pub(crate) type ChunkBlocks = KVVec<Option<KBox<Block>>>;

/// The blocks of the metadata.
pub(crate) struct Table {
    volume: Arc<Volume>,
    /// Maps the numbers of blocks to chunks. The first chunk has the same numbers after growth.
    geometry: Geometry,
    /// By number. Empty for a number without a chunk.
    chunks: KVVec<ChunkBlocks>,
}

/// The offset in bytes of a unit in its block.
pub(crate) fn offset(unit: u64) -> usize {
    // CAST: A block has 64 units.
    (unit % UNITS) as usize * UNIT_SIZE
}

/// The contents of a block from a unit on.
pub(crate) fn units_from(block: &Block, unit: u64) -> &[u8] {
    block.get(offset(unit)..).unwrap_or(&[])
}

impl Table {
    /// Creates a table without a chunk.
    pub(crate) fn new(volume: Arc<Volume>, geometry: Geometry) -> Self {
        Self {
            volume,
            geometry,
            chunks: KVVec::new(),
        }
    }

    /// Adds a chunk.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn insert(&mut self, chunk: u64, blocks: ChunkBlocks) -> Result {
        // CAST: The format limits the number.
        while self.chunks.len() <= chunk as usize {
            self.chunks.push(KVVec::new(), GFP_KERNEL)?;
        }
        if let Some(slot) = self.chunks.get_mut(chunk as usize) {
            *slot = blocks;
        }
        Ok(())
    }

    /// Removes a chunk.
    pub(crate) fn remove(&mut self, chunk: u64) {
        // CAST: The format limits the number.
        if let Some(slot) = self.chunks.get_mut(chunk as usize) {
            *slot = KVVec::new();
        }
        while self.chunks.last().is_some_and(|blocks| blocks.is_empty()) {
            self.chunks.pop();
        }
    }

    /// The chunk that a block is in, and its index there.
    fn index(&self, number: u64) -> (usize, usize) {
        let chunk = self.geometry.chunk_of(number);
        let first = self.geometry.chunk_blocks(chunk).start;

        // CAST: The format limits the number.
        (chunk as usize, number.saturating_sub(first) as usize)
    }

    /// A block, if it is cached.
    pub(crate) fn block(&self, number: u64) -> Option<&Block> {
        let (chunk, index) = self.index(number);

        self.chunks.get(chunk)?.get(index)?.as_deref()
    }

    pub(crate) fn block_mut(&mut self, number: u64) -> Option<&mut Block> {
        let (chunk, index) = self.index(number);

        self.chunks.get_mut(chunk)?.get_mut(index)?.as_deref_mut()
    }

    /// Caches a block. Replaces the cached block with this number, if any.
    pub(crate) fn set_block(&mut self, number: u64, block: KBox<Block>) {
        let (chunk, index) = self.index(number);
        let slot = self.chunks.get_mut(chunk).and_then(|it| it.get_mut(index));

        if let Some(slot) = slot {
            *slot = Some(block);
        }
    }

    /// Writes units to their cached blocks.
    pub(crate) fn put(&mut self, units: &[(u64, Unit)]) {
        // Consecutive units are mostly in one block. So look the block up once for each run.
        for run in units.chunk_by(|(one, _), (next, _)| one / UNITS == next / UNITS) {
            let number = run.first().map_or(0, |(address, _)| address / UNITS);
            let Some(block) = self.block_mut(number) else {
                continue;
            };

            for (address, unit) in run {
                let bytes = block.get_mut(offset(*address)..);

                if let Some(to) = bytes.and_then(|bytes| bytes.first_chunk_mut()) {
                    *to = *unit;
                }
            }
        }
    }

    /// Swaps units with the units at the same addresses in the cached blocks.
    pub(crate) fn swap(&mut self, units: &mut [(u64, Unit)]) {
        for (address, unit) in units {
            let block = self.block_mut(*address / UNITS);
            let bytes = block.and_then(|block| block.get_mut(offset(*address)..));

            if let Some(other) = bytes.and_then(|bytes| bytes.first_chunk_mut()) {
                mem::swap(other, unit);
            }
        }
    }

    /// Calls `f` with the address of each record, the inode that it belongs to, and the record.
    ///
    /// # Errors
    ///
    /// - `EUCLEAN` if a record is damaged.
    /// - The errors of `f`.
    pub(crate) fn for_each(&self, mut f: impl FnMut(u64, u64, Record<'_>) -> Result) -> Result {
        let blocks = (0..).zip(&self.chunks).flat_map(|(chunk, blocks)| {
            let first = self.geometry.chunk_blocks(chunk).start;

            (first..).zip(blocks)
        });

        for (number, block) in blocks {
            let Some(block) = block else {
                continue;
            };
            let mut unit = 1;

            while unit < UNITS {
                let address = number.saturating_mul(UNITS).saturating_add(unit);

                match self.record_in(block, address)? {
                    None => unit = unit.saturating_add(1),
                    Some((len, inode, record)) => {
                        f(address, inode, record)?;
                        unit = unit.saturating_add(len);
                    }
                }
            }
        }
        Ok(())
    }

    fn record_in<'a>(
        &self,
        block: &'a Block,
        address: u64,
    ) -> Result<Option<(u64, u64, Record<'a>)>> {
        let bytes = units_from(block, address);
        let describe = |fault: Fault| report_damage(&self.volume, address, fault);

        let Some(len) = Record::units(bytes).map_err(describe)? else {
            return Ok(None);
        };
        // CAST: A record has less than 64 units.
        let bytes = bytes.get(..len as usize * UNIT_SIZE).unwrap_or(&[]);
        let (inode, record) = Record::read(bytes).map_err(describe)?;

        Ok(Some((len, inode, record)))
    }

    /// The record at an address.
    ///
    /// # Errors
    ///
    /// - `EUCLEAN` if there is no record, or it is damaged.
    pub(crate) fn record(&self, address: u64) -> Result<Record<'_>> {
        let block = self.block(address / UNITS).ok_or(EUCLEAN)?;
        let (_, _, record) = self.record_in(block, address)?.ok_or(EUCLEAN)?;

        Ok(record)
    }
}
