// SPDX-License-Identifier: GPL-2.0

//! The two copies of superblock, journal and metadata: finds bad pairs, and rewrites copies.

use core::ops::Range;

use daxmf::crc32c::crc32c;
use kernel::prelude::*;

use crate::{
    format::{
        Block,
        Geometry,
        BLOCK_SHIFT,
        BLOCK_SIZE,
        COPIES,
        UNIT_SIZE, //
    },
    incore::view::View,
    store::metadata::Metadata, //
};

/// Whether a cached block has a header, and so the contents of the media. A block that is cached
/// for its first record gets the header when the record is committed.
fn is_sealed(block: &Block) -> bool {
    block.first_chunk() != Some(&[0; UNIT_SIZE])
}

impl Metadata {
    /// Whether both copies of a block of the journal or of chunk 0 are bad. Transactions write only
    /// these blocks at the ends of the filesystem.
    pub(crate) fn has_bad_pair(&self) -> bool {
        let [_, others @ ..] = self.geometry().copies();

        others
            .iter()
            .any(|copies| self.bad_pair_of(copies).is_some())
    }

    /// A bad block at the ends of the filesystem whose other copy is bad, too.
    pub(crate) fn bad_pair(&self) -> Option<u64> {
        self.geometry()
            .copies()
            .iter()
            .find_map(|copies| self.bad_pair_of(copies))
    }

    fn bad_pair_of(&self, [first, second]: &[Range<u64>; 2]) -> Option<u64> {
        let mut rest = first.clone();

        while let Some(bad) = self.bad.first_in(&rest) {
            let shift = |block: u64| {
                block
                    .saturating_sub(first.start)
                    .saturating_add(second.start)
            };

            if let Some(other) = self.bad.first_in(&(shift(bad.start)..shift(bad.end))) {
                return Some(other.start);
            }
            rest.start = bad.end;
        }
        None
    }

    /// Rewrites a copy of a metadata block over bad memory.
    ///
    /// # Errors
    ///
    /// - `EIO` if the memory cannot be repaired.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn repair(&self, view: &View, copy: u64, number: u64) -> Result {
        match view.table.block(number).filter(|block| is_sealed(block)) {
            Some(block) => self.write_copy(copy, number, block),
            None => self.repair_empty(copy, number),
        }
    }

    /// Rewrites a copy of a metadata block without a record over bad memory. Such a block is not
    /// cached, or was cached for a change that was not committed.
    fn repair_empty(&self, copy: u64, number: u64) -> Result {
        let mut empty = KBox::new([0; BLOCK_SIZE], GFP_KERNEL)?;
        let chunk = self.geometry().chunk_of(number);

        if let Some(cached) = self.chunk(chunk) {
            self.seal_block(&cached.chunk, number, &mut empty);
        }
        // The copies must be equal, so rewrite the other one, too. Ignore an error: the block has
        // no record, so no data is gone.
        for other in (0..COPIES).filter(|other| *other != copy) {
            let _ = self.write_copy(other, number, &empty);
        }
        self.write_copy(copy, number, &empty)
    }

    /// Writes the second copy of chunk 0 to its place after growth.
    ///
    /// # Errors
    ///
    /// - `EIO` if a block cannot be written, or a block without a record cannot be read.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn write_second_copy(&self, view: &View, grown: &Geometry) -> Result {
        let chunk = grown.first_chunk();
        let mut empty: KBox<Block> = KBox::new([0; BLOCK_SIZE], GFP_KERNEL)?;

        for number in grown.chunk_blocks(chunk.number) {
            let start = chunk.place(grown, 1, number) << BLOCK_SHIFT;
            let bytes = match view.table.block(number).filter(|block| is_sealed(block)) {
                Some(block) => block,
                None => {
                    self.read_empty(number, &mut empty)?;
                    &*empty
                }
            };

            self.write_whole(start, bytes)?;
        }
        Ok(())
    }

    /// Writes a whole block at byte `start` of the volume. Repairs the block if the write fails.
    pub(super) fn write_whole(&self, start: u64, block: &Block) -> Result {
        self.volume
            .write(start, block)
            .or_else(|_| self.volume.repair(start, block))
    }

    /// Reads a block of chunk 0 that is not cached, from an intact copy.
    fn read_empty(&self, number: u64, block: &mut Block) -> Result {
        let chunk = self.geometry().first_chunk();

        for copy in 0..COPIES {
            let place = chunk.place(self.geometry(), copy, number);
            let is_read =
                !self.bad.contains(place) && self.volume.read(place << BLOCK_SHIFT, block).is_ok();

            if is_read && chunk.open(&self.superblock, number, block, crc32c).is_ok() {
                return Ok(());
            }
        }
        Err(EIO)
    }

    fn write_copy(&self, copy: u64, number: u64, bytes: &Block) -> Result {
        let block = self.place(copy, number).ok_or(EINVAL)?;

        self.volume.repair(block << BLOCK_SHIFT, bytes)
    }
}
