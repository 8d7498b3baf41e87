// SPDX-License-Identifier: GPL-2.0

//! Writes the copies of the superblock, and sets the label.

use daxmf::crc32c::crc32c;
use kernel::prelude::*;

use crate::{
    change::state::State,
    format::{
        Block,
        Superblock,
        BLOCK_SHIFT,
        BLOCK_SIZE,
        COPIES, //
    },
};

impl State {
    /// Writes a copy of the superblock, unless the media has the right contents already.
    pub(crate) fn repair_superblock(&self, copy: u64) -> Result {
        self.write_superblock(self.metadata.geometry().superblock(copy))
    }

    /// Writes the superblock to a block of the volume, unless the block has the right contents
    /// already.
    pub(crate) fn write_superblock(&self, block: u64) -> Result {
        let start = block << BLOCK_SHIFT;
        let mut found: KBox<Block> = KBox::new([0; BLOCK_SIZE], GFP_KERNEL)?;
        let mut wanted: KBox<Block> = KBox::new([0; BLOCK_SIZE], GFP_KERNEL)?;

        self.metadata.superblock().write(&mut wanted, crc32c);
        match self.volume.read(start, &mut *found) {
            Ok(()) if *found == *wanted => Ok(()),
            _ => self.volume.repair(start, &wanted),
        }
    }

    /// Sets the label. Writes copy 0 first, and copy 1 when copy 0 is durable. If the machine stops
    /// between them, both copies are intact, and the next mount uses copy 0.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if the label is longer than 32 bytes.
    /// - `EIO` if no copy can be written.
    pub(crate) fn set_label(&mut self, label: &[u8]) -> Result {
        let old = *self.metadata.superblock();
        let label = Superblock::padded_label(label).ok_or(EINVAL)?;

        self.metadata.set_superblock(Superblock { label, ..old });

        let mut is_written = false;

        for copy in 0..COPIES {
            // A later repair writes a copy that is bad now.
            let block = self.metadata.geometry().superblock(copy);
            let is_bad = self.metadata.bad.contains(block);

            if !is_bad && self.repair_superblock(copy).is_ok() {
                self.volume.fence()?;
                is_written = true;
            }
        }
        if !is_written {
            self.metadata.set_superblock(old);
            return Err(EIO);
        }
        self.view.change().superblock = *self.metadata.superblock();
        Ok(())
    }
}
