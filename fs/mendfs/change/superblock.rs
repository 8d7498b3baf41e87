// SPDX-License-Identifier: GPL-2.0

//! The superblock in both copies, and the label in it.

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
    /// Writes a copy of the superblock anew, unless it is as it should be.
    pub(crate) fn repair_superblock(&self, copy: u64) -> Result {
        self.write_superblock(self.metadata.geometry().superblock(copy))
    }

    /// The same for the block that is to be a copy.
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

    /// Sets the label, in one copy of the superblock after the other: whole as they are, the first
    /// one counts.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if it is too long.
    /// - `EIO` if no copy can be written.
    pub(crate) fn set_label(&mut self, label: &[u8]) -> Result {
        let before = *self.metadata.superblock();
        let label = Superblock::padded_label(label).ok_or(EINVAL)?;

        self.metadata.set_superblock(Superblock { label, ..before });

        let mut is_written = false;

        for copy in 0..COPIES {
            // What is bad is written when it is repaired.
            let block = self.metadata.geometry().superblock(copy);
            let is_bad = self.metadata.bad.contains(block);

            if !is_bad && self.repair_superblock(copy).is_ok() {
                self.volume.fence()?;
                is_written = true;
            }
        }
        if !is_written {
            self.metadata.set_superblock(before);
            return Err(EIO);
        }
        self.view.change().superblock = *self.metadata.superblock();
        Ok(())
    }
}
