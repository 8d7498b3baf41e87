// SPDX-License-Identifier: GPL-2.0

//! Grows a filesystem with its volume.
//!
//! The second copies of journal, chunk 0 and superblock lie at the end of the filesystem. Growth
//! writes them at the new end first, while the filesystem still has the old size. The write of the
//! first copy of the superblock then makes the new size valid. If that write is torn, a mount uses
//! the superblock in the last block of the volume, which is durable already. So one of the two
//! sizes is valid at any time.

use core::ops::Range;

use daxmf::crc32c::crc32c;
use kernel::prelude::*;

use crate::{
    blocks::bytes,
    change::state::State,
    format::{
        Block,
        Geometry,
        Superblock,
        BLOCK_SHIFT,
        BLOCK_SIZE, //
    },
};

impl State {
    /// Grows the filesystem to `blocks` blocks.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if the filesystem would shrink, or grow by less than
    ///   [`Geometry::copy_blocks()`], or become too large.
    /// - `ENOSPC` if the volume has fewer blocks.
    /// - `EIO` if a block that must be written is bad. If the write of the first superblock fails,
    ///   the filesystem is shut down.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn grow_to(&mut self, blocks: u64) -> Result {
        let old_superblock = *self.metadata.superblock();
        let old = old_superblock.geometry;

        if blocks == old.blocks() {
            return Ok(());
        }

        let geometry = old.grown(blocks).map_err(|_| EINVAL)?;

        self.volume.grow()?;
        if blocks > self.volume_blocks() {
            return Err(ENOSPC);
        }
        if self.metadata.bad.contains(old.superblock(0)) {
            pr_warn!(
                "{}: cannot grow while the first superblock is bad\n",
                self.volume
            );
            return Err(EIO);
        }

        self.begin_change()?;
        self.space.reserve(geometry.data().end)?;

        // A failure from now on waits for the lock, and is handled after growth. Collect the blocks
        // that have failed earlier.
        let bad = self.unreadable(old.blocks()..blocks)?;

        self.write_second_copies(&geometry)?;
        self.metadata.set_superblock(Superblock {
            geometry,
            ..old_superblock
        });
        if let Err(error) = self.write_last_superblocks() {
            self.metadata.set_superblock(old_superblock);
            // Ignore an error: a mount does not use the last block while the first superblock is
            // intact.
            let _ = self.zero_last_block();
            return Err(error);
        }
        // If this fails, the next mount can find either size. Both are consistent as long as
        // nothing else is changed, so shut down.
        self.repair_superblock(0)
            .and_then(|()| self.volume.fence())
            .inspect_err(|_| {
                self.view
                    .change()
                    .shut_down("the first superblock cannot be written");
            })?;

        self.space.grow(geometry.data().end);
        self.view.change().superblock = *self.metadata.superblock();
        pr_info!(
            "{}: grown from {} to {blocks} blocks\n",
            self.volume,
            old.blocks()
        );
        // The filesystem has grown, so errors below are only logged.
        if let Err(error) = self.note_bad_data(&old, &bad) {
            pr_warn!(
                "{}: bad blocks of the new data are not noted, and found when they are allocated: \
                 {error:?}\n",
                self.volume
            );
        }
        if let Err(error) = self.zero_last_block() {
            pr_warn!("{}: last block cannot be cleared: {error:?}\n", self.volume);
        }
        Ok(())
    }

    fn volume_blocks(&self) -> u64 {
        self.volume.len() >> BLOCK_SHIFT
    }

    /// Writes the second copies of the journal and of chunk 0 at the new end.
    fn write_second_copies(&self, geometry: &Geometry) -> Result {
        let [_, [_, journal], _] = geometry.copies();

        // The new copy of the journal has no transactions. So all transactions must be durable in
        // place first.
        self.volume.fence()?;
        self.volume.zero(bytes(journal)?)?;
        self.metadata.write_second_copy(&self.view, geometry)?;
        self.volume.fence()
    }

    /// Writes the second copy of the superblock, and writes it to the last block of the volume,
    /// too, where a mount looks for that copy.
    fn write_last_superblocks(&self) -> Result {
        self.repair_superblock(1)?;
        self.write_superblock(self.volume_blocks().saturating_sub(1))?;
        self.volume.fence()
    }

    /// Zeroes the last block of the volume if it lies after the filesystem and has a superblock of
    /// the filesystem, which growth has left.
    ///
    /// # Errors
    ///
    /// - `EIO` if the block cannot be written.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn zero_last_block(&self) -> Result {
        let superblock = self.metadata.superblock();
        let blocks = self.volume_blocks();
        let last = blocks.saturating_sub(1)..blocks;
        let mut block: KBox<Block> = KBox::new([0; BLOCK_SIZE], GFP_KERNEL)?;

        if last.start < superblock.geometry.blocks()
            || self
                .volume
                .read(last.start << BLOCK_SHIFT, &mut *block)
                .is_err()
        {
            return Ok(());
        }
        match Superblock::read(&block, crc32c) {
            Ok(found) if found.uuid == superblock.uuid => {
                // The superblocks of the filesystem must be durable before this one is gone.
                self.volume.fence()?;
                self.volume.zero(bytes(last)?)?;
                self.volume.fence()
            }
            _ => Ok(()),
        }
    }

    /// Notes the known bad blocks among the new data: `bad` of the new blocks, and the bad blocks
    /// of the old second copies.
    fn note_bad_data(&mut self, old: &Geometry, bad: &[Range<u64>]) -> Result {
        let copies = old.data().end..old.blocks();

        while let Some(bad) = self.metadata.bad.first_in(&copies) {
            self.metadata.bad.reserve()?;
            self.metadata.bad.remove(&bad);
            self.note_failure(&bad)?;
        }
        bad.iter().try_for_each(|block| self.note_failure(block))
    }
}
