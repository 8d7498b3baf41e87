// SPDX-License-Identifier: GPL-2.0

//! The places of the superblock, the journal, the first chunk and the data on a volume.

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

/// Alignment of the start of the data, in blocks: the number of blocks that a huge page maps.
const DATA_ALIGN: u64 = 512;

/// The sizes of a filesystem, in blocks.
///
/// # Invariants
///
/// The parts fit into `blocks` blocks, and there is at least one block of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    pub(super) blocks: u64,
    journal: u64,
    metadata: u64,
}

/// The use of a block of the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A superblock: number of the copy.
    Super(u64),
    /// A block of the journal: number of the copy.
    Journal(u64),
    /// A metadata block: number of the copy, and number of the block.
    Metadata(u64, u64),
    /// A block of the data area: data of files, a free block, or a chunk other than chunk 0.
    Data,
    /// No use: the block is in the gap before the data, or after the end of the filesystem.
    Unused,
}

impl Geometry {
    /// Maximum number of blocks of a filesystem: 2^48 bytes.
    pub const MAX_BLOCKS: u64 = 1 << (48 - BLOCK_SHIFT);

    /// Valid numbers of blocks of one copy of the journal.
    pub const JOURNAL_BLOCKS: Range<u64> = 8..0x1001;

    /// Valid numbers of blocks of one copy of the first chunk of the metadata.
    pub const METADATA_BLOCKS: Range<u64> = 1..MAX_METADATA + 1;

    /// Checks the numbers of blocks of the filesystem, of one copy of the journal, and of one copy
    /// of the first chunk.
    ///
    /// # Errors
    ///
    /// - [`Fault::Geometry`] if a number is out of range, if the slots of the journal would differ
    ///   in size, or if the copies leave no block for data.
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

        // INVARIANT: The parts fit, and there is data, because `data()` is not empty: it starts
        // after the first copies, and ends where the second copies start.
        if is_sane && !geometry.data().is_empty() {
            Ok(geometry)
        } else {
            Err(Fault::Geometry)
        }
    }

    /// The default sizes for a volume of `blocks` blocks.
    ///
    /// # Errors
    ///
    /// - [`Fault::Geometry`] if the volume is too small or too large.
    pub fn of_device(blocks: u64) -> Result<Self, Fault> {
        Self::new(blocks, 64, (blocks / UNITS).clamp(16, 64))
    }

    /// Number of blocks of the filesystem. The volume can be longer.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// The sizes of the filesystem after it has grown to `blocks` blocks. The new second copies lie
    /// after the old second copies, so that the old ones stay until the new ones are written.
    ///
    /// # Errors
    ///
    /// - [`Fault::Geometry`] if the filesystem would not grow by at least
    ///   [`copy_blocks()`](Self::copy_blocks), or would be too large.
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

    /// Number of blocks of one copy of the superblock, the journal and the first chunk together. A
    /// filesystem grows by at least as many.
    pub fn copy_blocks(&self) -> u64 {
        1_u64
            .saturating_add(self.journal)
            .saturating_add(self.metadata)
    }

    /// The blocks of the data area.
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
        // CAST: `JOURNAL_BLOCKS` limits the journal to 4096 blocks.
        ((self.journal / SLOTS) as usize).saturating_mul(BLOCK_SIZE)
    }

    /// The first block of each copy of the first chunk of the metadata.
    pub(super) fn metadata_starts(&self) -> [u64; COPIES as usize] {
        [
            self.journal.saturating_add(1),
            self.blocks.saturating_sub(self.copy_blocks()),
        ]
    }

    /// The number of the chunk that a metadata block is in.
    pub fn chunk_of(&self, block: u64) -> u64 {
        match block.checked_sub(self.metadata) {
            None => 0,
            Some(distance) => (distance / CHUNK_BLOCKS).saturating_add(1),
        }
    }

    /// The numbers of the metadata blocks of a chunk.
    pub fn chunk_blocks(&self, chunk: u64) -> Range<u64> {
        match chunk.checked_sub(1) {
            None => 0..self.metadata,
            Some(index) => {
                let start = self
                    .metadata
                    .saturating_add(index.saturating_mul(CHUNK_BLOCKS));

                start..start.saturating_add(CHUNK_BLOCKS)
            }
        }
    }

    /// The address of the last unit of a chunk, which is the record of the next chunk.
    pub fn link_address(&self, chunk: u64) -> u64 {
        let end = self.chunk_blocks(chunk).end;

        end.saturating_mul(UNITS).saturating_sub(1)
    }

    /// Whether a chunk can have this number: both copies of as many chunks fit the data.
    pub fn is_valid_chunk(&self, chunk: u64) -> bool {
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

    /// The use of a block of the volume. Chunks other than chunk 0 count as data.
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
