// SPDX-License-Identifier: GPL-2.0

//! Copy on write: gives a file its own blocks in place of shared or bad blocks.

use core::ops::Range;

use daxmf::{
    fs::{
        Mapping,
        Place,
        Purpose,
        Volume, //
    },
    range::{
        space,
        ByteRange, //
    },
};
use kernel::{
    prelude::*,
    rbtree::RBTreeNodeReservation, //
};

use crate::{
    blocks::{
        blocks,
        bytes, //
    },
    change::state::State,
    format::{
        Extent,
        BLOCK_SHIFT, //
    },
    mounted::Mendfs,
    ops::map::is_sufficient, //
};

/// This function copies blocks without the lock, because copying takes long.
impl Mendfs {
    /// Gives a file its own copy of the first shared extent in `range`. Returns false if no extent
    /// is shared.
    ///
    /// The source does not change meanwhile: the caller holds the locks of the inode and of its
    /// mapping, and other files that share the source write to copies.
    pub(crate) fn unshare_first(&self, number: u64, range: ByteRange<space::File>) -> Result<bool> {
        let shared = self.read_noalloc(|view| Ok(view.first_shared(number, blocks(range))))?;
        let Some(shared) = shared else {
            return Ok(false);
        };
        let mut reserved = self.reserve_blocks(number, shared.file_blocks())?;
        let to = bytes(reserved.blocks.clone())?;

        match self.volume.check(to) {
            Err(EIO) => {
                self.change(|state| state.retire_bad(reserved.blocks.clone()))?;
                return Ok(true);
            }
            checked => checked?,
        }
        if let Err(error) = self.volume.copy(shared.block << BLOCK_SHIFT, to) {
            let noted = self.change(|state| state.note_unreadable(shared.blocks()));

            // If the source is bad, try again: `first_shared()` skips bad blocks, because a write
            // of a whole block needs no copy.
            return match error == EIO && noted? {
                true => Ok(true),
                false => Err(error),
            };
        }
        // If the new blocks have failed, the extent is still shared, and the next call tries again.
        self.change(|state| state.assign_reserved(number, &mut reserved, None))?;
        Ok(true)
    }
}

impl State {
    /// Finds the mapping of a file from the first byte of `range` on. If the purpose needs another
    /// place for the first block, reserves a block to copy or rewrite it to. Returns [`None`] for a
    /// hole that the caller must fill.
    pub(crate) fn map(
        &mut self,
        number: u64,
        range: ByteRange<space::File>,
        purpose: Purpose,
    ) -> Result<Option<Mapping>> {
        let found = self.view.find(number, range)?;

        if is_sufficient(&found, range, purpose) {
            return Ok(Some(found));
        }
        match found.place {
            Place::Hole => Ok(None),
            Place::Bad { .. } => self
                .begin_rewrite(number, blocks(found.range).start)
                .map(Some),
            Place::Mapped { start, .. } => self
                .begin_copy(number, blocks(found.range).start, start)
                .map(Some),
            Place::Copied { .. } | Place::Moved { .. } => Err(EUCLEAN),
        }
    }

    /// Reserves a block to copy a shared block of a file to. [`end_copy()`](Self::end_copy) gives
    /// it to the file.
    fn begin_copy(&mut self, number: u64, file_block: u64, source: u64) -> Result<Mapping> {
        let block = self.cow_block(number, file_block, |volume, range| volume.check(range))?;

        Ok(Mapping {
            range: bytes(file_block..file_block.saturating_add(1))?,
            place: Place::Copied {
                start: block << BLOCK_SHIFT,
                source,
            },
        })
    }

    /// Reserves a block to write the contents of a bad block of a file to.
    /// [`end_copy()`](Self::end_copy) gives it to the file.
    fn begin_rewrite(&mut self, number: u64, file_block: u64) -> Result<Mapping> {
        let block = self.cow_block(number, file_block, |volume, range| volume.zero(range))?;

        Ok(Mapping {
            range: bytes(file_block..file_block.saturating_add(1))?,
            place: Place::Moved {
                start: block << BLOCK_SHIFT,
            },
        })
    }

    /// The block of the volume that is reserved for a copy of a block of a file. Reserves one if
    /// there is none. `check` has succeeded for the returned block.
    ///
    /// # Errors
    ///
    /// - `EIO` if the block that was reserved earlier is bad.
    fn cow_block(
        &mut self,
        number: u64,
        file_block: u64,
        check: impl Fn(&Volume, ByteRange<space::Volume>) -> Result,
    ) -> Result<u64> {
        let known = self.cow_blocks.get(&(number, file_block)).copied();

        match known {
            Some(block) if self.view.bad.contains(block) => Err(EIO),
            Some(block) => {
                check(&self.volume, bytes(block..block.saturating_add(1))?)?;
                Ok(block)
            }
            None => self.allocate_cow_block(number, file_block, check),
        }
    }

    fn allocate_cow_block(
        &mut self,
        number: u64,
        file_block: u64,
        check: impl Fn(&Volume, ByteRange<space::Volume>) -> Result,
    ) -> Result<u64> {
        let room = RBTreeNodeReservation::new(GFP_KERNEL)?;
        let file = file_block..file_block.saturating_add(1);
        let block = self.allocate_writable(number, file, check)?.0.start;

        self.space.commit();
        self.cow_blocks
            .insert(room.into_node((number, file_block), block));
        Ok(block)
    }

    /// Gives the reserved block, which has the contents now, to the file.
    pub(crate) fn end_copy(&mut self, number: u64, range: ByteRange<space::File>) -> Result {
        let file_block = blocks(range).start;
        let Some(block) = self.cow_blocks.get(&(number, file_block)).copied() else {
            return Ok(());
        };

        if self.view.bad.contains(block) {
            return Err(EIO);
        }
        let file = file_block..file_block.saturating_add(1);
        let extent = Extent::new(&file, block);

        self.begin_change()?;
        self.replace(number, file, &[extent], None)?;
        self.cow_blocks.remove(&(number, file_block));
        Ok(())
    }

    /// Frees the blocks that are reserved for copies of blocks `file` of a file. The caller ensures
    /// that no page table entry points to them.
    pub(super) fn drop_cow_blocks(&mut self, number: u64, file: &Range<u64>) -> Result {
        while let Some(cursor) = self.cow_blocks.cursor_lower_bound(&(number, file.start)) {
            let (key, block) = cursor.current();
            let (key, block) = (*key, *block);

            if key.0 != number || key.1 >= file.end {
                break;
            }
            self.repairs.reserve(1)?;
            self.cow_blocks.remove(&key);
            self.release(block..block.saturating_add(1));
        }
        Ok(())
    }
}
