// SPDX-License-Identifier: GPL-2.0

//! The writes of a repair, and their order.

use std::collections::BTreeMap;
use std::io;

use crate::checksum;
use crate::chunks::Chunks;
use crate::format::{Block, Superblock, BLOCK_SIZE, COPIES};
use crate::journal::Journal;
use crate::media::Media;

use super::copies::choose;
use super::runs::Runs;

/// The writes that repair a filesystem.
pub struct Repair {
    pub(super) superblock: Superblock,
    pub(super) journal: Journal,
    pub(super) chunks: Chunks,
    pub(super) stale: Runs,
    pub(super) unrecoverable: Runs,
    pub(super) new_blocks: Vec<u64>,
    pub(super) changed: BTreeMap<u64, Box<Block>>,
    pub(super) sequence: u64,
}

impl Repair {
    /// Whether there is nothing to write but possibly a superblock.
    fn is_empty(&self) -> bool {
        self.stale.is_empty()
            && self.unrecoverable.is_empty()
            && self.changed.is_empty()
            && !self.journal.is_damaged
    }

    /// Writes the repair. If the machine crashes meanwhile, each block has its old or its new
    /// contents in at least one copy, so that the repair can be run again.
    ///
    /// # Errors
    ///
    /// - The error of `media`.
    pub fn write(&self, media: &mut dyn Media) -> io::Result<()> {
        if !self.is_empty() {
            self.equalize_copies(media)?;
            media.sync()?;
            Journal::retire(self.sequence, media, &self.superblock)?;
            self.write_changes(media)?;
        }

        let image = crate::superblock::image(&self.superblock);

        for copy in 0..COPIES {
            let block = self.superblock.geometry.superblock(copy);

            if !media.read_block(block).is_ok_and(|bytes| bytes == image) {
                media.write(block, image.as_slice())?;
            }
        }
        media.sync()?;
        crate::superblock::clear_growth(media, &self.superblock)?;
        media.sync()
    }

    /// Makes both copies of the stale blocks equal, with the changes in the journal. Writes empty
    /// blocks in place of unrecoverable ones, and to new chunks.
    fn equalize_copies(&self, media: &mut dyn Media) -> io::Result<()> {
        for number in self.stale.iter() {
            let block = self.chunks.of(number).and_then(|chunk| {
                choose(media, &self.superblock, &self.journal, chunk, number).block
            });
            let Some(block) = block else {
                // The good copy of the block has become bad since the check.
                return Err(io::Error::other(format!(
                    "metadata block {number} has become bad: run fsck.mendfs again"
                )));
            };

            self.write_block(media, number, &block)?;
        }
        let empty = self.unrecoverable.iter();

        for number in empty.chain(self.new_blocks.iter().copied()) {
            let mut block = [0; BLOCK_SIZE];

            self.seal(number, 0, &mut block);
            self.write_block(media, number, &block)?;
        }
        Ok(())
    }

    /// Writes both copies of a block.
    fn write_block(&self, media: &mut dyn Media, number: u64, block: &Block) -> io::Result<()> {
        self.chunks
            .places(number)
            .try_for_each(|place| media.write(place, block))
    }

    fn seal(&self, number: u64, sequence: u64, block: &mut Block) {
        if let Some(chunk) = self.chunks.of(number) {
            chunk.seal(&self.superblock, number, sequence, block, checksum);
        }
    }

    /// Writes the changed blocks: the first copy of all of them, then the second copy of all.
    fn write_changes(&self, media: &mut dyn Media) -> io::Result<()> {
        for copy in 0..COPIES as usize {
            for (number, block) in &self.changed {
                let mut block = block.clone();

                self.seal(*number, self.sequence + 1, &mut block);
                if let Some(place) = self.chunks.places(*number).nth(copy) {
                    media.write(place, block.as_slice())?;
                }
            }
            media.sync()?;
        }
        Ok(())
    }
}
