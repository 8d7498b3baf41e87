// SPDX-License-Identifier: GPL-2.0

//! Where superblock, journal, metadata and data lie on a device.

use core::ops::Range;

use super::{
    fault::Fault,
    sizes::{
        BLOCK_SHIFT,
        BLOCK_SIZE,
        CHUNK_BLOCKS,
        COPIES,
        MAX_METADATA,
        SLOTS,
        UNITS, //
    },
};

/// Where data starts and ends, in blocks: a multiple of what a huge page maps.
const DATA_ALIGN: u64 = 512;

/// The sizes of a filesystem, in blocks.
///
/// # Invariants
///
/// The parts fit the device, and there is at least one block of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    pub(super) blocks: u64,
    journal: u64,
    metadata: u64,
}

/// What a block of the device is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The superblock, which copy.
    Super(u64),
    /// A block of the journal, which copy.
    Journal(u64),
    /// A block of metadata: which copy, and its number.
    Metadata(u64, u64),
    /// Data of files, free, or another chunk of the metadata.
    Data,
    /// Nothing: a gap that aligns the data, or beyond the end.
    Unused,
}

impl Geometry {
    /// Most blocks of a device: 2^48 bytes.
    pub const MAX_BLOCKS: u64 = 1 << (48 - BLOCK_SHIFT);

    /// Least and most blocks of one copy of the journal.
    pub const JOURNAL_BLOCKS: Range<u64> = 8..0x1001;

    /// Least and most blocks of one copy of the first chunk of the metadata.
    pub const METADATA_BLOCKS: Range<u64> = 1..MAX_METADATA + 1;

    /// Checks sizes: those of the device, and of one copy of the journal and the first chunk.
    ///
    /// # Errors
    ///
    /// - [`Fault::Geometry`] if they do not fit.
    pub fn new(blocks: u64, journal: u64, metadata: u64) -> Result<Self, Fault> {
        let geometry = Self {
            blocks,
            journal,
            metadata,
        };

        let is_sane = blocks <= Self::MAX_BLOCKS
            && Self::JOURNAL_BLOCKS.contains(&journal)
            && journal % SLOTS == 0
            && Self::METADATA_BLOCKS.contains(&metadata);

        // INVARIANT: The data lies between the copies, as `data()` is not empty.
        if is_sane && !geometry.data().is_empty() {
            Ok(geometry)
        } else {
            Err(Fault::Geometry)
        }
    }

    /// The sizes for a device of `blocks` blocks, if nobody wishes otherwise.
    ///
    /// # Errors
    ///
    /// - [`Fault::Geometry`] if the device is too small or too big.
    pub fn of_device(blocks: u64) -> Result<Self, Fault> {
        Self::new(blocks, 64, (blocks / UNITS).clamp(16, 64))
    }

    /// Number of blocks of the device.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// The sizes of the filesystem on a device of `blocks` blocks, which is longer now. The new
    /// second copies lie behind the old ones: these are there until the others are.
    ///
    /// # Errors
    ///
    /// - [`Fault::Geometry`] if it is not longer by [`copy_blocks()`](Self::copy_blocks), or too
    ///   long.
    pub fn grown(&self, blocks: u64) -> Result<Self, Fault> {
        match blocks.checked_sub(self.blocks) {
            Some(more) if more >= self.copy_blocks() => {
                Self::new(blocks, self.journal, self.metadata)
            }
            _ => Err(Fault::Geometry),
        }
    }

    /// Number of blocks of one copy of the journal.
    pub fn journal_blocks(&self) -> u64 {
        self.journal
    }

    /// Number of blocks of one copy of the first chunk of the metadata.
    pub fn metadata_blocks(&self) -> u64 {
        self.metadata
    }

    /// The blocks at either end that hold a copy of everything. It grows by as many at least.
    pub fn copy_blocks(&self) -> u64 {
        1_u64
            .saturating_add(self.journal)
            .saturating_add(self.metadata)
    }

    /// The blocks for data.
    pub fn data(&self) -> Range<u64> {
        let start = self.copy_blocks().saturating_add(DATA_ALIGN - 1) & !(DATA_ALIGN - 1);

        start..self.blocks.saturating_sub(self.copy_blocks())
    }

    /// The block of a copy of the superblock.
    pub fn superblock(&self, copy: u64) -> u64 {
        match copy {
            0 => 0,
            _ => self.blocks.saturating_sub(1),
        }
    }

    /// The first block of a slot of a copy of the journal.
    pub fn slot(&self, copy: u64, slot: u64) -> u64 {
        let start = match copy {
            0 => 1,
            _ => self.blocks.saturating_sub(1).saturating_sub(self.journal),
        };

        start.saturating_add(slot.saturating_mul(self.journal / SLOTS))
    }

    /// The size in bytes of a slot of the journal.
    pub fn slot_size(&self) -> usize {
        // CAST: The journal is not larger than `JOURNAL_BLOCKS` allows.
        ((self.journal / SLOTS) as usize).saturating_mul(BLOCK_SIZE)
    }

    /// The first block of each copy of the first chunk of the metadata.
    pub(super) fn metadata_starts(&self) -> [u64; COPIES as usize] {
        [
            self.journal.saturating_add(1),
            self.blocks.saturating_sub(self.copy_blocks()),
        ]
    }

    /// The number of the chunk that has a metadata block.
    pub fn chunk_of(&self, block: u64) -> u64 {
        match block.checked_sub(self.metadata) {
            None => 0,
            Some(behind) => (behind / CHUNK_BLOCKS).saturating_add(1),
        }
    }

    /// The numbers of the metadata blocks of a chunk.
    pub fn chunk_blocks(&self, chunk: u64) -> Range<u64> {
        match chunk.checked_sub(1) {
            None => 0..self.metadata,
            Some(before) => {
                let start = self
                    .metadata
                    .saturating_add(before.saturating_mul(CHUNK_BLOCKS));

                start..start.saturating_add(CHUNK_BLOCKS)
            }
        }
    }

    /// The address of the last unit of a chunk, which has the record of the next one.
    pub fn link(&self, chunk: u64) -> u64 {
        let end = self.chunk_blocks(chunk).end;

        end.saturating_mul(UNITS).saturating_sub(1)
    }

    /// Whether there may be a chunk of this number: so many fit the data.
    pub fn may_have(&self, chunk: u64) -> bool {
        let data = self.data();
        let needed = chunk.saturating_mul(COPIES.saturating_mul(CHUNK_BLOCKS));

        self.chunk_blocks(chunk).end <= MAX_METADATA
            && needed <= data.end.saturating_sub(data.start)
    }

    /// The blocks of both copies of the superblock, the journal and the first chunk.
    pub fn copies(&self) -> [[Range<u64>; COPIES as usize]; 3] {
        let both = |starts: [u64; COPIES as usize], len: u64| {
            starts.map(|start| start..start.saturating_add(len))
        };

        [
            both([0, 1].map(|copy| self.superblock(copy)), 1),
            both([0, 1].map(|copy| self.slot(copy, 0)), self.journal),
            both(self.metadata_starts(), self.metadata),
        ]
    }

    /// What a block of the device is for. Other chunks than the first lie in the data.
    pub fn place(&self, block: u64) -> Place {
        let [supers, journals, chunks] = self.copies();

        for (copy, ((first, journal), chunk)) in
            (0..).zip(supers.iter().zip(&journals).zip(&chunks))
        {
            if first.contains(&block) {
                return Place::Super(copy);
            }
            if journal.contains(&block) {
                return Place::Journal(copy);
            }
            if chunk.contains(&block) {
                return Place::Metadata(copy, block.saturating_sub(chunk.start));
            }
        }

        match self.data().contains(&block) {
            true => Place::Data,
            false => Place::Unused,
        }
    }
}
