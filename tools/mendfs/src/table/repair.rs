// SPDX-License-Identifier: GPL-2.0

//! What a check has found to be written, and the order in which it is.

use std::collections::BTreeMap;
use std::io;

use crate::checksum;
use crate::chunks::Chunks;
use crate::format::{Block, Superblock, BLOCK_SIZE, COPIES};
use crate::journal::Journal;
use crate::media::Media;

use super::copies::choose;
use super::runs::Runs;

/// What is to be written to repair a filesystem.
pub struct Repair {
    pub(super) superblock: Superblock,
    pub(super) journal: Journal,
    pub(super) chunks: Chunks,
    pub(super) stale: Runs,
    pub(super) lost: Runs,
    pub(super) made: Vec<u64>,
    pub(super) changed: BTreeMap<u64, Box<Block>>,
    pub(super) sequence: u64,
}

impl Repair {
    /// Whether there is nothing to write but, perhaps, a superblock.
    fn is_empty(&self) -> bool {
        self.stale.is_empty()
            && self.lost.is_empty()
            && self.changed.is_empty()
            && !self.journal.is_damaged
    }

    /// Writes what is to be written. Whatever moment the machine stops at, what was there or what
    /// is to be there is found.
    ///
    /// # Errors
    ///
    /// - What the media fails with.
    pub fn write(&self, media: &mut dyn Media) -> io::Result<()> {
        if !self.is_empty() {
            self.mend(media)?;
            media.sync()?;
            Journal::retire(self.sequence, media, &self.superblock)?;
            self.change(media)?;
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

    /// Makes the copies the same, with what the journal has.
    fn mend(&self, media: &mut dyn Media) -> io::Result<()> {
        for number in self.stale.iter() {
            let block = self.chunks.of(number).and_then(|chunk| {
                choose(media, &self.superblock, &self.journal, chunk, number).block
            });
            let Some(block) = block else {
                // Another copy has become bad meanwhile.
                return Err(io::Error::other(format!(
                    "metadata block {number} cannot be read any more"
                )));
            };

            self.write_block(media, number, &block)?;
        }
        for number in self.lost.iter().chain(self.made.iter().copied()) {
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

    /// Writes the changed blocks, one copy of all after the other.
    fn change(&self, media: &mut dyn Media) -> io::Result<()> {
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
