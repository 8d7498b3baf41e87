// SPDX-License-Identifier: GPL-2.0

//! Allocates blocks for a file, and fills holes.

use core::ops::Range;

use daxmf::{
    fs::{
        Mapping,
        Place,
        Time,
        Volume, //
    },
    range::{
        space,
        ByteRange, //
    },
};
use kernel::prelude::*;

use crate::{
    blocks::{
        bytes,
        count, //
    },
    change::state::State,
    format::{
        Extent,
        BLOCK_SHIFT, //
    },
    incore::{
        bitmap::{
            around,
            HUGE, //
        },
        inode::Piece, //
    },
    mounted::Mendfs, //
};

/// How many blocks are allocated at a time, at most.
const MAX_ALLOCATION: u64 = 8 * HUGE;

/// Blocks of the device that were taken for blocks of a file. They are given up when this is
/// dropped, unless the file has them.
pub(super) struct Taken<'a> {
    fs: &'a Mendfs,
    pub(crate) blocks: Range<u64>,
    file: Range<u64>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if self.blocks.is_empty() {
            return;
        }

        let blocks = self.blocks.clone();

        if let Err(error) = self.fs.change_any(|state| state.try_release(blocks)) {
            pr_warn!(
                "{}: blocks {:#x}..{:#x} stay reserved until the next mount: {error:?}\n",
                self.fs.volume,
                self.blocks.start,
                self.blocks.end
            );
        }
    }
}

/// What takes long is done without the lock: to zero blocks, and to copy them.
impl Mendfs {
    pub(super) fn take(&self, number: u64, file: Range<u64>) -> Result<Taken<'_>> {
        let (blocks, file) = self.change(|state| state.take(number, file))?;

        Ok(Taken {
            fs: self,
            blocks,
            file,
        })
    }

    /// Makes blocks of a file that are a hole hold zeroes, from the first one on and as many as one
    /// extent can. Returns them, or [`None`] if that is to be tried again.
    pub(crate) fn fill(
        &self,
        number: u64,
        hole: Range<u64>,
        now: Option<Time>,
    ) -> Result<Option<Mapping>> {
        let mut taken = self.take(number, hole)?;

        match self.volume.zero(bytes(taken.blocks.clone())?) {
            Err(EIO) => self
                .change(|state| state.retire_bad(taken.blocks.clone()))
                .map(|_| None),
            zeroed => {
                zeroed.and_then(|()| self.change(|state| state.fill(number, &mut taken, now)))
            }
        }
    }
}

impl State {
    /// Begins an operation, and takes blocks of the device for blocks of a file, from the first one
    /// on. Nobody gets them until they are [given up](Self::try_release), or belong to a file.
    pub(super) fn take(
        &mut self,
        number: u64,
        file: Range<u64>,
    ) -> Result<(Range<u64>, Range<u64>)> {
        self.begin_change()?;

        let taken = self.take_for(number, file)?;

        self.space.commit();
        Ok(taken)
    }

    /// Makes blocks that were taken those of a file, unless they have failed. Returns whether they
    /// are.
    pub(super) fn use_taken(
        &mut self,
        number: u64,
        taken: &mut Taken<'_>,
        now: Option<Time>,
    ) -> Result<bool> {
        if self.view.bad.first_in(&taken.blocks).is_some() {
            return Ok(false);
        }
        self.begin_change()?;

        let extent = Extent::new(&taken.file, taken.blocks.start);

        self.replace(number, taken.file.clone(), &[extent], now)?;
        taken.blocks = 0..0;
        Ok(true)
    }

    /// Makes blocks that were taken, and hold zeroes, those of a hole. Returns [`None`] if that is
    /// to be tried again: they have failed, or a page fault has filled some of the hole.
    fn fill(
        &mut self,
        number: u64,
        taken: &mut Taken<'_>,
        now: Option<Time>,
    ) -> Result<Option<Mapping>> {
        let start = taken.blocks.start << BLOCK_SHIFT;

        let hole = self.view.first_hole(number, taken.file.clone())?;

        if hole.as_ref() != Some(&taken.file) || !self.use_taken(number, taken, now)? {
            return Ok(None);
        }
        Ok(Some(Mapping {
            range: bytes(taken.file.clone())?,
            place: Place::Mapped {
                start,
                is_shared: false,
                is_new: true,
            },
        }))
    }

    /// Begins an operation, and takes blocks of the device for blocks of a file, from the first one
    /// on, for which `check` succeeds or that it repairs.
    pub(super) fn take_sound(
        &mut self,
        number: u64,
        file: Range<u64>,
        check: impl Fn(&Volume, ByteRange<space::Volume>) -> Result,
    ) -> Result<(Range<u64>, Range<u64>)> {
        loop {
            self.begin_change()?;

            let (taken, file) = self.take_for(number, file.clone())?;

            let range = bytes(taken.clone())?;

            match check(&self.volume, range) {
                Err(EIO) if self.retire_bad(taken.clone())? => (),
                // They are repaired.
                Err(EIO) => return check(&self.volume, range).map(|()| (taken, file)),
                result => return result.map(|()| (taken, file)),
            }
        }
    }

    /// Retires those of some blocks that cannot be written, if any. They were taken, and nobody has
    /// told us that they are bad.
    pub(super) fn retire_bad(&mut self, taken: Range<u64>) -> Result<bool> {
        let mut is_one_bad = false;

        for block in taken {
            let block = block..block.saturating_add(1);

            if self.volume.zero(bytes(block.clone())?).is_err() {
                self.note_failure(&block)?;
                is_one_bad = true;
            }
        }
        Ok(is_one_bad)
    }

    /// Takes blocks of the device for blocks of a file, from the first one on.
    fn take_for(&mut self, number: u64, file: Range<u64>) -> Result<(Range<u64>, Range<u64>)> {
        // Where a huge page can map the file it should be able to, so stop at its boundary.
        let is_aligned = file.start % HUGE == 0;
        let limit = match is_aligned {
            true if count(&file) >= HUGE => count(&file) / HUGE * HUGE,
            _ => HUGE.saturating_sub(file.start % HUGE),
        };
        let wanted = count(&file).min(limit).min(MAX_ALLOCATION);
        let goal = match self.view.node(number)?.piece_before(file.start) {
            Some(before) if self.space.is_free(before.extent.end()) => Some(before.extent.end()),
            _ => self.copy_goal(number, file.start)?,
        };
        let taken = self.space.allocate(wanted, goal, is_aligned)?;
        let file = file.start..file.start.saturating_add(count(&taken));

        Ok((taken, file))
    }

    /// Where a block of a piece is to be copied to: as far from a piece beside this one as it is in
    /// the file. So what is copied of it, in any order, lies in a row in the end. What one huge
    /// page could map stays together. The first copy that is far from both pieces goes to where
    /// there is room for others.
    fn copy_goal(&mut self, number: u64, file_block: u64) -> Result<Option<u64>> {
        let node = self.view.node(number)?;
        let Some(Piece { extent: piece, .. }) = node
            .piece_from(file_block)
            .filter(|piece| piece.extent.file_block <= file_block)
        else {
            return Ok(None);
        };
        let before = node.piece_before(piece.file_block).and_then(|before| {
            let distance = file_block.saturating_sub(piece.file_block);

            before.extent.end().checked_add(distance)
        });
        let behind = node
            .piece_from(piece.file_end())
            .filter(|behind| behind.extent.file_block == piece.file_end())
            .and_then(|behind| {
                let distance = piece.file_end().saturating_sub(file_block);

                behind.extent.block.checked_sub(distance)
            });
        let huge = around(file_block, HUGE);
        let is_near = [
            piece.file_block > huge.start,
            piece.file_end() < huge.end, //
        ];
        let goal = |is_wanted_near: bool| {
            [before, behind]
                .into_iter()
                .zip(is_near)
                .filter(|(_, is_near)| *is_near == is_wanted_near)
                .find_map(|(goal, _)| goal.filter(|goal| self.space.is_free(*goal)))
        };

        Ok(match goal(true) {
            None if piece.count >= HUGE => self
                .space
                .next_huge()
                .map(|start| start.saturating_add(file_block % HUGE)),
            None => goal(false),
            near => near,
        })
    }
}
