// SPDX-License-Identifier: GPL-2.0

//! The table of records: the free units, and the planned change.

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
    damage::report_damage,
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

/// The units of one record.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub(super) address: u64,
    pub(super) len: u64,
}

/// A planned change, before its commit.
#[derive(Default)]
pub(super) struct Change {
    /// The new contents of units, by address.
    pub(super) units: KVec<(u64, Unit)>,
    /// Records that are added. Their units are used already.
    pub(super) added: KVec<Run>,
    /// Records that are removed. Their units become free after the commit.
    pub(super) freed: KVec<Run>,
    /// The old units of removed records that readers can still read from the table, until the
    /// change is visible.
    pub(super) read: KVec<(u64, Unit)>,
    /// The metadata blocks that the change writes. Filled by the commit.
    pub(super) touched: KVec<u64>,
}

/// The state for changes of the table of records.
///
/// A change adds, replaces and removes any number of records, and ends with
/// [`commit()`](Self::commit). Each change begins with [`rollback()`](Self::rollback), which
/// discards a change that was not committed.
pub(crate) struct Metadata {
    pub(super) volume: Arc<Volume>,
    pub(super) superblock: Superblock,
    /// By number. The last element is not [`None`].
    pub(super) chunks: KVVec<Option<CachedChunk>>,
    /// The least number without a chunk.
    pub(super) vacant: u64,
    /// Number of chunks without records, except chunk 0.
    pub(super) empty: u64,
    /// For each length of a record in units, the first block that can have room for such a record.
    /// A greater length never has a lesser hint.
    pub(super) hints: [u64; UNITS as usize],
    /// Number of units for records.
    pub(super) units: u64,
    /// Number of free units for records.
    pub(super) free: u64,
    pub(super) change: Change,
    /// A buffer for one record.
    pub(super) scratch: KVec<u8>,
    pub(super) journal: Journal,
    /// Bad blocks of superblocks, journal and metadata. They are not written until they are
    /// repaired, because after a machine check they are missing from the linear map for a while.
    pub(crate) bad: BadBlocks,
}

impl Metadata {
    /// Creates the state without a chunk.
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

    /// Sets the superblock in memory, and the places that follow from it. If places change, the
    /// caller has written the copies to the new places. Afterwards the caller writes the superblock
    /// to the media.
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

    /// The number of the last committed transaction.
    pub(crate) fn sequence(&self) -> u64 {
        self.journal.sequence()
    }

    /// Continues after transaction `sequence` if that is later than the last one in the journal.
    pub(crate) fn advance_to(&mut self, sequence: u64) {
        self.journal.advance_to(sequence);
    }

    /// The maximum number of units in a transaction.
    pub(crate) fn room(&self) -> usize {
        self.journal.room()
    }

    /// Number of units for records.
    pub(crate) fn units(&self) -> u64 {
        self.units
    }

    /// Number of free units for records.
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

    /// The block of the volume with copy `copy` of metadata block `number`. [`None`] if there is no
    /// such metadata block.
    pub(crate) fn place(&self, copy: u64, number: u64) -> Option<u64> {
        let cached = self.chunk(self.geometry().chunk_of(number))?;

        Some(cached.chunk.place(self.geometry(), copy, number))
    }

    /// The number of the metadata block of which copy `copy` lies at `block` of the volume. `chunk`
    /// is not 0.
    pub(crate) fn block_at(&self, chunk: u64, copy: u64, block: u64) -> Option<u64> {
        let copies = self.chunk(chunk)?.chunk.blocks();
        let start = copies.get(copy as usize)?.start;
        let first = self.geometry().chunk_blocks(chunk).start;

        Some(first.saturating_add(block.checked_sub(start)?))
    }

    /// The address of the record of a chunk other than chunk 0.
    pub(crate) fn chunk_record(&self, number: u64) -> u64 {
        let previous = self.chunk(number).map_or(0, |cached| cached.previous);

        self.geometry().link_address(previous)
    }

    /// Whether an address is the last unit of a chunk.
    pub(crate) fn is_link(&self, address: u64) -> bool {
        self.geometry()
            .link_address(self.geometry().chunk_of(address / UNITS))
            == address
    }

    /// The index of a block in its chunk.
    pub(super) fn index(&self, block: u64) -> usize {
        let chunk = self.geometry().chunk_of(block);
        let first = self.geometry().chunk_blocks(chunk).start;

        // CAST: The format limits the number.
        block.saturating_sub(first) as usize
    }

    /// The mask of the used units of a block.
    pub(super) fn used_mut(&mut self, block: u64) -> Option<&mut u64> {
        let index = self.index(block);

        self.chunk_mut(self.geometry().chunk_of(block))?
            .used
            .get_mut(index)
    }

    /// The mask of the units of a block that are reserved for the header and the record of the next
    /// chunk.
    pub(super) fn reserved(&self, number: u64) -> u64 {
        match self.is_link(number.saturating_mul(UNITS).saturating_add(UNITS - 1)) {
            true => HEADER | LINK,
            false => HEADER,
        }
    }

    /// Seals a block with the sequence of the last transaction.
    pub(super) fn seal_block(&self, chunk: &Chunk, number: u64, block: &mut Block) {
        chunk.seal(
            &self.superblock,
            number,
            self.journal.sequence(),
            block,
            crc32c,
        );
    }

    /// Loads a block that was read from the media, and checks the lengths of its records. The
    /// caller has checked the header. Free units must be zeroes: a block without a record is not
    /// cached until a record is added to it. The cached block then starts with zeroes, and only its
    /// new record is written to the media. Any other contents on the media would differ from the
    /// cached block.
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
        // `next_chunk()` checks the record of the next chunk.
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

                    return Err(report_damage(&self.volume, address, what));
                }
                Err(fault) => return Err(report_damage(&self.volume, address, fault)),
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

    /// Updates the counters after `count` units of a block have become used or free.
    pub(super) fn count_used(&mut self, block: u64, count: u64, is_used: bool) {
        let number = self.geometry().chunk_of(block);
        let Some(cached) = self.chunk_mut(number) else {
            return;
        };
        let was_empty = cached.count == 0;

        cached.count = match is_used {
            true => cached.count.saturating_add(count),
            false => cached.count.saturating_sub(count),
        };

        let is_empty = cached.count == 0;

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

/// Caches a block without a record, unless the block is cached already.
pub(super) fn cache_block(view: &mut Writer<View>, number: u64) -> Result {
    if view.table.block(number).is_none() {
        let block = KBox::new([0; BLOCK_SIZE], GFP_KERNEL)?;

        view.change().table.set_block(number, block);
    }
    Ok(())
}
