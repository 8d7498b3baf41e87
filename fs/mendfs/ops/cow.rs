// SPDX-License-Identifier: GPL-2.0

//! Copy on write: gives a file blocks of its own in place of shared or bad ones.

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

/// What takes long is done without the lock: to zero blocks, and to copy them.
impl Mendfs {
    /// Gives a file a copy of its own of the first shared extent in `range`. Returns false if there
    /// is none.
    ///
    /// What is copied stays as it is: the caller has the locks of the inode and of its mapping, and
    /// other files that share it write elsewhere.
    pub(crate) fn unshare_first(&self, number: u64, range: ByteRange<space::File>) -> Result<bool> {
        let shared = self.read_noalloc(|view| Ok(view.first_shared(number, blocks(range))))?;
        let Some(shared) = shared else {
            return Ok(false);
        };
        let mut taken = self.take(number, shared.file_blocks())?;
        let to = bytes(taken.blocks.clone())?;

        match self.volume.check(to) {
            Err(EIO) => {
                self.change(|state| state.retire_bad(taken.blocks.clone()))?;
                return Ok(true);
            }
            checked => checked?,
        }
        if let Err(error) = self.volume.copy(shared.block << BLOCK_SHIFT, to) {
            let noted = self.change(|state| state.note_unreadable(shared.blocks()));

            // What is to be written whole need not be copied.
            return match error == EIO && noted? {
                true => Ok(true),
                false => Err(error),
            };
        }
        // If that is to be tried again, it is still shared.
        self.change(|state| state.use_taken(number, &mut taken, None))?;
        Ok(true)
    }
}

impl State {
    /// Finds the piece of a file that the first byte of `range` lies in, and begins to copy it
    /// where that is needed. Returns [`None`] for a hole that is to be filled.
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

    /// Finds a block to copy the first block of a shared extent to. It is not the file's yet.
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

    /// Finds a block to write a bad block of a file to. It is not the file's yet.
    fn begin_rewrite(&mut self, number: u64, file_block: u64) -> Result<Mapping> {
        let block = self.cow_block(number, file_block, |volume, range| volume.zero(range))?;

        Ok(Mapping {
            range: bytes(file_block..file_block.saturating_add(1))?,
            place: Place::Moved {
                start: block << BLOCK_SHIFT,
            },
        })
    }

    /// The block that a block of a file is to be copied to, for which `check` succeeds.
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
            None => self.take_cow_block(number, file_block, check),
        }
    }

    fn take_cow_block(
        &mut self,
        number: u64,
        file_block: u64,
        check: impl Fn(&Volume, ByteRange<space::Volume>) -> Result,
    ) -> Result<u64> {
        let room = RBTreeNodeReservation::new(GFP_KERNEL)?;
        let file = file_block..file_block.saturating_add(1);
        let block = self.take_sound(number, file, check)?.0.start;

        self.space.commit();
        self.cow_blocks
            .insert(room.into_node((number, file_block), block));
        Ok(block)
    }

    /// Makes the block that was copied the file's own.
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

    /// Gives up the blocks that were to be copied to, which no page table entry points to any more.
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
