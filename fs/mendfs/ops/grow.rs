// SPDX-License-Identifier: GPL-2.0

//! How a filesystem grows with its device.
//!
//! The second copies of journal, chunk 0 and superblock lie at the end. They are written at the new
//! end first, while all that counts is the old one. Then the first copy of the superblock is
//! written: from that moment on it has grown. A mount that finds this one torn takes the one in the
//! last block of the device, which is there by then, so that one of the two sizes always counts.

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
    /// Makes the filesystem as long as so many blocks of the device.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if it would become shorter, or longer by less than a copy of what is there twice,
    ///   or too long.
    /// - `ENOSPC` if the device is not as long.
    /// - `EIO` if memory is bad that must be written. If that is the first superblock, the
    ///   filesystem is shut down.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn grow_to(&mut self, blocks: u64) -> Result {
        let before = *self.metadata.superblock();
        let old = before.geometry;

        if blocks == old.blocks() {
            return Ok(());
        }

        let geometry = old.grown(blocks).map_err(|_| EINVAL)?;

        self.volume.grow()?;
        if blocks > self.device_blocks() {
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

        // What fails from now on waits for the lock, and finds the filesystem grown.
        let bad = self.unreadable(old.blocks()..blocks)?;

        self.write_second_copies(&geometry)?;
        self.metadata
            .set_superblock(Superblock { geometry, ..before });
        if let Err(error) = self.write_last_superblocks() {
            self.metadata.set_superblock(before);
            // It does not count as long as the first one is whole.
            let _ = self.clear_last_block();
            return Err(error);
        }
        // If that fails, nobody knows which size counts. Either is right if nothing changes.
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
        // It has grown, whatever comes of these.
        if let Err(error) = self.note_bad_data(&old, &bad) {
            pr_warn!(
                "{}: bad blocks are found when a file is to get them: {error:?}\n",
                self.volume
            );
        }
        if let Err(error) = self.clear_last_block() {
            pr_warn!("{}: last block cannot be cleared: {error:?}\n", self.volume);
        }
        Ok(())
    }

    fn device_blocks(&self) -> u64 {
        self.volume.len() >> BLOCK_SHIFT
    }

    /// Writes what is there twice, but the superblock, at the new end.
    fn write_second_copies(&self, geometry: &Geometry) -> Result {
        let [_, [_, journal], _] = geometry.copies();

        // What the journal holds must be in place, for the new copy does not have it.
        self.volume.fence()?;
        self.volume.zero(bytes(journal)?)?;
        self.metadata.write_second_copy(&self.view, geometry)?;
        self.volume.fence()
    }

    /// Writes the superblock to its second copy, and to where a mount looks for that.
    fn write_last_superblocks(&self) -> Result {
        self.repair_superblock(1)?;
        self.write_superblock(self.device_blocks().saturating_sub(1))?;
        self.volume.fence()
    }

    /// Clears the last block of the device if that is behind the filesystem and has a superblock
    /// of it: what is left of a growth.
    ///
    /// # Errors
    ///
    /// - `EIO` if it cannot be written.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn clear_last_block(&self) -> Result {
        let superblock = self.metadata.superblock();
        let blocks = self.device_blocks();
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
                // The first copy is found from now on.
                self.volume.fence()?;
                self.volume.zero(bytes(last)?)?;
                self.volume.fence()
            }
            _ => Ok(()),
        }
    }

    /// Notes what is known to be bad of blocks that are data now: of those that are new, and of
    /// those that the second copies had.
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
