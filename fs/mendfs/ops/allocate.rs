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
            aligned_range,
            HUGE, //
        },
        inode::Piece, //
    },
    mounted::Mendfs, //
};

/// Maximum number of blocks that are allocated at a time.
const MAX_ALLOCATION: u64 = 8 * HUGE;

/// Blocks of the volume that are reserved for blocks of a file. When dropped, frees the blocks
/// unless the file owns them.
pub(super) struct ReservedBlocks<'a> {
    fs: &'a Mendfs,
    pub(crate) blocks: Range<u64>,
    file: Range<u64>,
}

impl Drop for ReservedBlocks<'_> {
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

/// These functions zero blocks without the lock, because zeroing takes long.
impl Mendfs {
    /// Reserves blocks of the volume for blocks of a file, see [`State::reserve_blocks()`].
    pub(super) fn reserve_blocks(
        &self,
        number: u64,
        file: Range<u64>,
    ) -> Result<ReservedBlocks<'_>> {
        let (blocks, file) = self.change(|state| state.reserve_blocks(number, file))?;

        Ok(ReservedBlocks {
            fs: self,
            blocks,
            file,
        })
    }

    /// Fills a hole of a file with one extent of zeroes, from the first block on and as long as
    /// possible. Returns the mapping of the extent, or [`None`] if the caller must try again.
    pub(crate) fn fill(
        &self,
        number: u64,
        hole: Range<u64>,
        now: Option<Time>,
    ) -> Result<Option<Mapping>> {
        let mut reserved = self.reserve_blocks(number, hole)?;

        match self.volume.zero(bytes(reserved.blocks.clone())?) {
            Err(EIO) => self
                .change(|state| state.retire_bad(reserved.blocks.clone()))
                .map(|_| None),
            zeroed => {
                zeroed.and_then(|()| self.change(|state| state.fill(number, &mut reserved, now)))
            }
        }
    }
}

impl State {
    /// Begins an operation, and reserves a run of blocks of the volume for blocks of a file, from
    /// the first one on. Returns the run, and the blocks of the file that it is for. The run stays
    /// reserved until it is [freed](Self::try_release), or belongs to a file.
    pub(super) fn reserve_blocks(
        &mut self,
        number: u64,
        file: Range<u64>,
    ) -> Result<(Range<u64>, Range<u64>)> {
        self.begin_change()?;

        let reserved = self.allocate_for(number, file)?;

        self.space.commit();
        Ok(reserved)
    }

    /// Makes reserved blocks an extent of the file, unless some of them have failed. Returns
    /// whether it has done so.
    pub(super) fn assign_reserved(
        &mut self,
        number: u64,
        reserved: &mut ReservedBlocks<'_>,
        now: Option<Time>,
    ) -> Result<bool> {
        if self.view.bad.first_in(&reserved.blocks).is_some() {
            return Ok(false);
        }
        self.begin_change()?;

        let extent = Extent::new(&reserved.file, reserved.blocks.start);

        self.replace(number, reserved.file.clone(), &[extent], now)?;
        reserved.blocks = 0..0;
        Ok(true)
    }

    /// Fills a hole with reserved blocks, which are zeroed. Returns [`None`] if the caller must try
    /// again: some of the blocks have failed, or a page fault has filled a part of the hole.
    fn fill(
        &mut self,
        number: u64,
        reserved: &mut ReservedBlocks<'_>,
        now: Option<Time>,
    ) -> Result<Option<Mapping>> {
        let start = reserved.blocks.start << BLOCK_SHIFT;

        let hole = self.view.first_hole(number, reserved.file.clone())?;

        if hole.as_ref() != Some(&reserved.file) || !self.assign_reserved(number, reserved, now)? {
            return Ok(None);
        }
        Ok(Some(Mapping {
            range: bytes(reserved.file.clone())?,
            place: Place::Mapped {
                start,
                is_shared: false,
                is_new: true,
            },
        }))
    }

    /// Begins an operation, and allocates blocks of the volume for blocks of a file, from the first
    /// one on. If `check` of the blocks fails with `EIO`, zeroes them to clear bad memory. Retires
    /// the blocks that cannot be zeroed, and tries other blocks.
    pub(super) fn allocate_writable(
        &mut self,
        number: u64,
        file: Range<u64>,
        check: impl Fn(&Volume, ByteRange<space::Volume>) -> Result,
    ) -> Result<(Range<u64>, Range<u64>)> {
        loop {
            self.begin_change()?;

            let (reserved, file) = self.allocate_for(number, file.clone())?;

            let range = bytes(reserved.clone())?;

            match check(&self.volume, range) {
                Err(EIO) if self.retire_bad(reserved.clone())? => (),
                // All blocks could be zeroed, so the bad ones are repaired.
                Err(EIO) => return check(&self.volume, range).map(|()| (reserved, file)),
                result => return result.map(|()| (reserved, file)),
            }
        }
    }

    /// Zeroes reserved blocks, and notes that the blocks that cannot be zeroed are bad. Returns
    /// whether there are any. It is for bad blocks that only a failed access has found: the
    /// filesystem was not notified of them.
    pub(super) fn retire_bad(&mut self, reserved: Range<u64>) -> Result<bool> {
        let mut is_one_bad = false;

        for block in reserved {
            let block = block..block.saturating_add(1);

            if self.volume.zero(bytes(block.clone())?).is_err() {
                self.note_failure(&block)?;
                is_one_bad = true;
            }
        }
        Ok(is_one_bad)
    }

    /// Allocates a run of blocks of the volume for blocks of a file, from the first one on. Returns
    /// the run, and the blocks of the file that it is for.
    fn allocate_for(&mut self, number: u64, file: Range<u64>) -> Result<(Range<u64>, Range<u64>)> {
        // Stop at the boundary of a huge page of the file, so that the next allocation can be
        // aligned for a huge page.
        let is_aligned = file.start % HUGE == 0;
        let limit = match is_aligned {
            true if count(&file) >= HUGE => count(&file) / HUGE * HUGE,
            _ => HUGE.saturating_sub(file.start % HUGE),
        };
        let wanted = count(&file).min(limit).min(MAX_ALLOCATION);
        let goal = match self.view.node(number)?.piece_before(file.start) {
            Some(previous) if self.space.is_free(previous.extent.end()) => {
                Some(previous.extent.end())
            }
            _ => self.copy_goal(number, file.start)?,
        };
        let reserved = self.space.allocate(wanted, goal, is_aligned)?;
        let file = file.start..file.start.saturating_add(count(&reserved));

        Ok((reserved, file))
    }

    /// Chooses the block of the volume to copy a block of a shared extent to. The distance of the
    /// chosen block from a neighbouring extent on the volume is the distance of the copied block
    /// from that extent in the file. So the copies of all blocks of an extent form one run in the
    /// end, in whatever order they are made. A neighbour in the same huge page of the file is
    /// preferred. Without such a neighbour, the first copy from an extent of at least a huge page
    /// goes to a free huge page, which has room for the other copies.
    fn copy_goal(&mut self, number: u64, file_block: u64) -> Result<Option<u64>> {
        let node = self.view.node(number)?;
        let Some(Piece { extent: piece, .. }) = node
            .piece_from(file_block)
            .filter(|piece| piece.extent.file_block <= file_block)
        else {
            return Ok(None);
        };
        let from_previous = node.piece_before(piece.file_block).and_then(|previous| {
            let distance = file_block.saturating_sub(piece.file_block);

            previous.extent.end().checked_add(distance)
        });
        let from_next = node
            .piece_from(piece.file_end())
            .filter(|next| next.extent.file_block == piece.file_end())
            .and_then(|next| {
                let distance = piece.file_end().saturating_sub(file_block);

                next.extent.block.checked_sub(distance)
            });
        let huge = aligned_range(file_block, HUGE);
        let is_near = [
            piece.file_block > huge.start,
            piece.file_end() < huge.end, //
        ];
        let goal = |is_wanted_near: bool| {
            [from_previous, from_next]
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
