// SPDX-License-Identifier: GPL-2.0

//! Chunks of the metadata, and the headers of their blocks.

use core::ops::Range;

use super::{
    bytes::{
        put,
        u32_at,
        u64_at, //
    },
    fault::Fault,
    geometry::Geometry,
    header::{
        Header,
        Magic, //
    },
    sizes::{
        Block,
        CHUNK_BLOCKS,
        COPIES,
        MAX_METADATA,
        UNIT_SIZE, //
    },
    superblock::Superblock, //
};

/// A chunk of the metadata: a run of metadata blocks, and the places of its two copies.
///
/// The copies of chunk 0 lie at the two ends of the filesystem. Each copy of another chunk has
/// [`CHUNK_BLOCKS`] blocks, and lies anywhere in the data. The chunks form a list: the last unit of
/// each chunk is the record of the chunk with the next greater number, or zeroes.
///
/// In a metadata block, the header also has the secret of the filesystem (16 bytes at 40), and the
/// first block of each copy of the chunk, divided by [`CHUNK_BLOCKS`] (`u32` at 56 and 60, both 0
/// in chunk 0). These fields prove that an intact block is metadata of this filesystem, in its
/// place: a program that writes to a file cannot forge a metadata block, because it does not have
/// the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The number. Chunks with greater numbers have metadata blocks with greater numbers.
    pub number: u64,
    /// The first block of each copy on the volume.
    pub copies: [u64; COPIES as usize],
}

/// Offset in bytes of the [proof](Chunk::proof) in the header of a metadata block.
const PROOF_AT: usize = 40;

impl Chunk {
    /// The blocks of each copy on the volume. Invalid for chunk 0, which has another length.
    pub fn blocks(&self) -> [Range<u64>; COPIES as usize] {
        self.copies
            .map(|start| start..start.saturating_add(CHUNK_BLOCKS))
    }

    /// The block of the volume with copy `copy` of metadata block `number`, which is in the chunk.
    pub fn place(&self, geometry: &Geometry, copy: u64, number: u64) -> u64 {
        let distance = number.saturating_sub(geometry.chunk_blocks(self.number).start);
        let [first, second] = self.copies;

        match copy {
            0 => first.saturating_add(distance),
            _ => second.saturating_add(distance),
        }
    }

    /// The last 24 bytes of the header of each block in the chunk: the secret, and the places of
    /// the two copies.
    fn proof(&self, superblock: &Superblock) -> [u8; UNIT_SIZE - PROOF_AT] {
        let mut proof = [0; UNIT_SIZE - PROOF_AT];

        put(&mut proof, 0, &superblock.secret.0);
        if self.number != 0 {
            for (at, start) in [16, 20].into_iter().zip(self.copies) {
                // CAST: A filesystem has at most 2^36 blocks.
                put(
                    &mut proof,
                    at,
                    &((start / CHUNK_BLOCKS) as u32).to_le_bytes(),
                );
            }
        }
        proof
    }

    /// Writes the header of metadata block `number`, which is in the chunk, with the checksum of
    /// the block.
    pub fn seal(
        &self,
        superblock: &Superblock,
        number: u64,
        sequence: u64,
        block: &mut Block,
        checksum: impl FnOnce(&[u8]) -> u32,
    ) {
        put(block, PROOF_AT, &self.proof(superblock));
        Header {
            magic: Magic::Metadata,
            uuid: superblock.uuid,
            address: number,
            sequence,
        }
        .seal(block, checksum);
    }

    /// Checks that a block is metadata block `number`, which is in the chunk. Returns the number of
    /// the transaction that last changed the block.
    ///
    /// # Errors
    ///
    /// - As [`Header::open()`].
    /// - [`Fault::Foreign`] if the block belongs to another filesystem.
    /// - [`Fault::Address`] if the block belongs to another chunk.
    pub fn open(
        &self,
        superblock: &Superblock,
        number: u64,
        block: &Block,
        checksum: impl FnOnce(&[u8]) -> u32,
    ) -> Result<u64, Fault> {
        let header = Header::open(block, Magic::Metadata, number, checksum)?;
        let proof = self.proof(superblock);
        let found = block.get(PROOF_AT..UNIT_SIZE).unwrap_or(&[]);

        if header.uuid != superblock.uuid || found.get(..16) != proof.get(..16) {
            return Err(Fault::Foreign);
        }
        match found == proof {
            true => Ok(header.sequence),
            false => Err(Fault::Address),
        }
    }

    /// The chunk that a block belongs to, according to its header. The caller checks the block with
    /// [`open()`](Self::open).
    pub fn from_header(geometry: &Geometry, block: &Block) -> Self {
        Self {
            number: geometry.chunk_of(u64_at(block, 24)),
            copies: [56, 60].map(|at| u64::from(u32_at(block, at)).saturating_mul(CHUNK_BLOCKS)),
        }
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, Fault> {
        let chunk = Self {
            number: u64_at(bytes, 16),
            copies: [24, 32].map(|at| u64_at(bytes, at)),
        };

        chunk.is_sane().then_some(chunk).ok_or(Fault::Value)
    }

    /// Whether the number and the places are valid. Never true of chunk 0.
    pub fn is_sane(&self) -> bool {
        let [first, second] = self.copies;

        self.number != 0
            && self.number <= MAX_METADATA
            && first % CHUNK_BLOCKS == 0
            && second % CHUNK_BLOCKS == 0
            && first < second
            && second < Geometry::MAX_BLOCKS
    }

    pub(super) fn write(&self, bytes: &mut [u8]) {
        put(bytes, 16, &self.number.to_le_bytes());
        for (at, start) in [24, 32].into_iter().zip(self.copies) {
            put(bytes, at, &start.to_le_bytes());
        }
    }
}

impl Geometry {
    /// The first chunk of the metadata.
    pub fn first_chunk(&self) -> Chunk {
        Chunk {
            number: 0,
            copies: self.metadata_starts(),
        }
    }
}
