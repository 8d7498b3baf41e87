// SPDX-License-Identifier: GPL-2.0

//! The chunks of the metadata.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::format::{Chunk, Geometry, CHUNK_BLOCKS, COPIES, UNITS};

/// The chunks of a filesystem.
#[derive(Clone)]
pub struct Chunks {
    geometry: Geometry,
    all: BTreeMap<u64, Chunk>,
    /// The first block of each copy, for all chunks but the first.
    starts: BTreeSet<u64>,
}

impl Chunks {
    /// Makes an empty set of chunks.
    pub fn new(geometry: Geometry) -> Self {
        Self {
            geometry,
            all: BTreeMap::new(),
            starts: BTreeSet::new(),
        }
    }

    /// Adds a chunk.
    pub fn add(&mut self, chunk: Chunk) {
        if chunk.number != 0 {
            self.starts.extend(chunk.copies);
        }
        self.all.insert(chunk.number, chunk);
    }

    /// Whether a chunk has the number of another chunk, or overlaps a copy of another chunk.
    pub fn conflicts_with(&self, chunk: &Chunk) -> bool {
        // All chunks but the first are aligned to their length, so it is enough to compare starts.
        self.all.contains_key(&chunk.number)
            || chunk.copies.iter().any(|start| self.starts.contains(start))
    }

    /// The chunk that contains a metadata block.
    pub fn of(&self, block: u64) -> Option<&Chunk> {
        self.all.get(&self.geometry.chunk_of(block))
    }

    /// The blocks of the device with the copies of a metadata block.
    pub fn places(&self, block: u64) -> impl Iterator<Item = u64> + '_ {
        let chunk = self.of(block);

        (0..COPIES).filter_map(move |copy| Some(chunk?.place(&self.geometry, copy, block)))
    }

    /// The chunk with this number.
    pub fn get(&self, number: u64) -> Option<&Chunk> {
        self.all.get(&number)
    }

    /// The chunk with the next greater number.
    pub fn next(&self, number: u64) -> Option<&Chunk> {
        self.all.range(number + 1..).next().map(|(_, chunk)| chunk)
    }

    /// The blocks of the device of each copy, for all chunks but the first.
    pub fn copies(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.starts.iter().map(|start| *start..start + CHUNK_BLOCKS)
    }

    /// The numbers of all metadata blocks.
    pub fn blocks(&self) -> impl Iterator<Item = u64> + '_ {
        self.all
            .keys()
            .flat_map(|number| self.geometry.chunk_blocks(*number))
    }

    /// Number of all metadata blocks.
    pub fn block_count(&self) -> u64 {
        let others = self.starts.len() as u64 / COPIES * CHUNK_BLOCKS;

        self.geometry.metadata_blocks() + others
    }

    /// Number of units for records.
    pub fn units(&self) -> u64 {
        self.block_count() * (UNITS - 1) - self.all.len() as u64
    }

    /// Whether an address is that of the last unit of a chunk, the link to the next chunk.
    pub fn is_link(&self, address: u64) -> bool {
        self.geometry
            .link_address(self.geometry.chunk_of(address / UNITS))
            .eq(&address)
    }

    /// The first run of blocks within `blocks` of the device that is not in a chunk; can be empty.
    pub fn without(&self, blocks: &Range<u64>) -> Range<u64> {
        let mut start = blocks.start;

        loop {
            let chunk = start / CHUNK_BLOCKS * CHUNK_BLOCKS;

            if start >= blocks.end || !self.starts.contains(&chunk) {
                break;
            }
            start = chunk + CHUNK_BLOCKS;
        }

        let start = start.min(blocks.end);
        let end = self.starts.range(start..blocks.end).next();

        start..end.copied().unwrap_or(blocks.end)
    }
}
