// SPDX-License-Identifier: GPL-2.0

//! Where a record fits the table of records, and how that changes on the media.

use daxmf::{
    crc32c::crc32c,
    fs::Volume,
    single_writer::Writer, //
};
use kernel::{
    alloc::KVVec,
    prelude::*,
    sync::Arc, //
};

use crate::{
    damage::damaged,
    format::{
        Block,
        Chunk,
        Geometry,
        Record,
        Superblock,
        BLOCK_SIZE,
        UNITS,
        UNIT_SIZE, //
    },
    incore::{
        bad_blocks::BadBlocks,
        table::{
            offset,
            Unit, //
        },
        view::View, //
    },
    store::{
        cached::{
            mask,
            CachedChunk,
            HEADER,
            LINK, //
        },
        journal::Journal, //
    },
};

/// Units that are a record, or are to be one.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub(super) address: u64,
    pub(super) len: u64,
}

/// A change that is not on the media yet.
#[derive(Default)]
pub(super) struct Change {
    pub(super) units: KVec<(u64, Unit)>,
    pub(super) added: KVec<Run>,
    pub(super) freed: KVec<Run>,
    /// Those units of records that go, as they were, that somebody may read as long as they are
    /// there.
    pub(super) read: KVec<(u64, Unit)>,
    /// The blocks that it is in, once it is complete.
    pub(super) touched: KVec<u64>,
}

/// What it takes to change the table of records.
///
/// A change is any number of records added, replaced and removed, and then
/// [`commit()`](Self::commit). One that is not committed is undone by
/// [`rollback()`](Self::rollback), with which the next one begins.
pub(crate) struct Metadata {
    pub(super) volume: Arc<Volume>,
    pub(super) superblock: Superblock,
    /// By their numbers; the last one is there.
    pub(super) chunks: KVVec<Option<CachedChunk>>,
    /// The least number that no chunk has.
    pub(super) vacant: u64,
    /// Number of chunks without a record, but the first.
    pub(super) empty: u64,
    /// For each length of a record, the first block that may have room for it. Not less than that
    /// for any shorter one.
    pub(super) hints: [u64; UNITS as usize],
    /// Number of units for records, and how many of them are free.
    pub(super) units: u64,
    pub(super) free: u64,
    pub(super) change: Change,
    pub(super) scratch: KVec<u8>,
    pub(super) journal: Journal,
    /// Blocks of superblock, journal and metadata that are bad. They are not written until they are
    /// repaired: after a machine check they are not even there for a while.
    pub(crate) bad: BadBlocks,
}

impl Metadata {
    /// There is no chunk yet.
    pub(crate) fn new(
        volume: Arc<Volume>,
        superblock: Superblock,
        journal: Journal,
    ) -> Result<Self> {
        Ok(Self {
            volume,
            superblock,
            chunks: KVVec::new(),
            vacant: 0,
            empty: 0,
            hints: [0; UNITS as usize],
            units: 0,
            free: 0,
            change: Change::default(),
            scratch: KVec::from_elem(0, BLOCK_SIZE, GFP_KERNEL)?,
            journal,
            bad: BadBlocks::new(),
        })
    }

    pub(crate) fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// Sets what the superblock is to be. The caller writes it, and has written what lies elsewhere
    /// by it.
    pub(crate) fn set_superblock(&mut self, superblock: Superblock) {
        self.superblock = superblock;
        self.journal.set_geometry(superblock.geometry);
        if let Some(first) = self.chunk_mut(0) {
            first.chunk = superblock.geometry.first_chunk();
        }
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.superblock.geometry
    }

    /// The transaction that was last committed.
    pub(crate) fn sequence(&self) -> u64 {
        self.journal.sequence()
    }

    /// Goes on after a transaction, if that is later than what the journal has.
    pub(crate) fn advance_to(&mut self, sequence: u64) {
        self.journal.advance_to(sequence);
    }

    /// The number of units that a change can have.
    pub(crate) fn room(&self) -> usize {
        self.journal.room()
    }

    /// Number of units for records.
    pub(crate) fn units(&self) -> u64 {
        self.units
    }

    /// Number of units that are free.
    pub(crate) fn free(&self) -> u64 {
        self.free
    }

    pub(super) fn chunk(&self, number: u64) -> Option<&CachedChunk> {
        // CAST: The format limits the number.
        self.chunks.get(number as usize)?.as_ref()
    }

    pub(super) fn chunk_mut(&mut self, number: u64) -> Option<&mut CachedChunk> {
        // CAST: The format limits the number.
        self.chunks.get_mut(number as usize)?.as_mut()
    }

    /// Where a copy of a metadata block lies on the device. [`None`] if there is no such block.
    pub(crate) fn place(&self, copy: u64, number: u64) -> Option<u64> {
        let kept = self.chunk(self.geometry().chunk_of(number))?;

        Some(kept.chunk.place(self.geometry(), copy, number))
    }

    /// The number of the metadata block of a chunk, but the first, whose copy lies at a block of
    /// the device.
    pub(crate) fn block_at(&self, chunk: u64, copy: u64, block: u64) -> Option<u64> {
        let copies = self.chunk(chunk)?.chunk.blocks();
        let start = copies.get(copy as usize)?.start;
        let first = self.geometry().chunk_blocks(chunk).start;

        Some(first.saturating_add(block.checked_sub(start)?))
    }

    /// The address of the record of a chunk but the first.
    pub(crate) fn chunk_record(&self, number: u64) -> u64 {
        let before = self.chunk(number).map_or(0, |kept| kept.before);

        self.geometry().link(before)
    }

    /// Whether an address is that of the last unit of a chunk.
    pub(crate) fn is_link(&self, address: u64) -> bool {
        self.geometry()
            .link(self.geometry().chunk_of(address / UNITS))
            == address
    }

    /// The index of a block in its chunk.
    pub(super) fn index(&self, block: u64) -> usize {
        let chunk = self.geometry().chunk_of(block);
        let first = self.geometry().chunk_blocks(chunk).start;

        // CAST: The format limits the number.
        block.saturating_sub(first) as usize
    }

    /// The units of a block that are not free, a bit for each.
    pub(super) fn used_mut(&mut self, block: u64) -> Option<&mut u64> {
        let index = self.index(block);

        self.chunk_mut(self.geometry().chunk_of(block))?
            .used
            .get_mut(index)
    }

    /// The units of a block that no record of other kinds than a chunk's may have.
    pub(super) fn reserved(&self, number: u64) -> u64 {
        match self.is_link(number.saturating_mul(UNITS).saturating_add(UNITS - 1)) {
            true => HEADER | LINK,
            false => HEADER,
        }
    }

    /// Seals a block as it is after the last transaction.
    pub(super) fn seal_block(&self, chunk: &Chunk, number: u64, block: &mut Block) {
        chunk.seal(
            &self.superblock,
            number,
            self.journal.sequence(),
            block,
            crc32c,
        );
    }

    /// Takes a block that was read from the media. Its header has been checked; the records are
    /// checked for their lengths. A free unit must be zeroes: a block without a record is not kept,
    /// and a record that is added is not written with what lies around it.
    ///
    /// # Errors
    ///
    /// - `EUCLEAN` if a record is longer than the block, or a free unit is not zeroes.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn load(&mut self, view: &mut Writer<View>, number: u64, bytes: &Block) -> Result {
        let first = number.saturating_mul(UNITS);
        let reserved = self.reserved(number);
        let mut used = reserved;
        let mut unit = 1;
        // The record of the next chunk is checked when that is read.
        let end = match reserved & LINK {
            0 => UNITS,
            _ => UNITS - 1,
        };
        // CAST: A block has 64 units.
        let records = bytes.get(..end as usize * UNIT_SIZE).unwrap_or(&[]);

        while unit < end {
            let rest = records.get(offset(unit)..).unwrap_or(&[]);
            let address = first.saturating_add(unit);
            let len = match Record::units(rest) {
                Ok(Some(len)) => len,
                Ok(None) if rest.first_chunk() == Some(&[0; UNIT_SIZE]) => 0,
                Ok(None) => {
                    let what = "a free unit that is not zeroes";

                    return Err(damaged(&self.volume, address, what));
                }
                Err(fault) => return Err(damaged(&self.volume, address, fault)),
            };

            used |= mask(unit, len);
            unit = unit.saturating_add(len.max(1));
        }

        let has_link = end != UNITS && bytes.last_chunk() != Some(&[0; UNIT_SIZE]);

        if used != reserved || has_link {
            let mut copy = KBox::new([0; BLOCK_SIZE], GFP_KERNEL)?;

            copy.copy_from_slice(bytes);
            view.change().table.set_block(number, copy);
            if let Some(old) = self.used_mut(number) {
                *old = used;
            }
            self.count_used(number, (used ^ reserved).count_ones().into(), true);
        }
        Ok(())
    }

    /// Counts units of a block that become used, or free.
    pub(super) fn count_used(&mut self, block: u64, count: u64, is_used: bool) {
        let number = self.geometry().chunk_of(block);
        let Some(kept) = self.chunk_mut(number) else {
            return;
        };
        let was_empty = kept.count == 0;

        kept.count = match is_used {
            true => kept.count.saturating_add(count),
            false => kept.count.saturating_sub(count),
        };

        let is_empty = kept.count == 0;

        self.free = match is_used {
            true => self.free.saturating_sub(count),
            false => self.free.saturating_add(count),
        };
        match (was_empty, is_empty) {
            (true, false) if number != 0 => self.empty = self.empty.saturating_sub(1),
            (false, true) if number != 0 => self.empty = self.empty.saturating_add(1),
            _ => {}
        }
    }
}

/// Keeps a block in memory, if need be without a record.
pub(super) fn cache_block(view: &mut Writer<View>, number: u64) -> Result {
    if view.table.block(number).is_none() {
        let block = KBox::new([0; BLOCK_SIZE], GFP_KERNEL)?;

        view.change().table.set_block(number, block);
    }
    Ok(())
}
