// SPDX-License-Identifier: GPL-2.0

//! Repairs bad blocks that no file owns, and records the remaining bad ranges on the media.

use core::ops::Range;

use kernel::prelude::*;

use crate::{
    blocks::intersection,
    change::state::State,
    format::{
        Block,
        Place,
        Record,
        BLOCK_SHIFT,
        BLOCK_SIZE, //
    },
    incore::{
        bad_blocks::BadRange,
        repairs::MAX_REPAIRED, //
    },
    mounted::Mendfs, //
};

static ZEROES: Block = [0; BLOCK_SIZE];

impl Mendfs {
    /// Repairs the blocks whose delay is over.
    pub(crate) fn repair_all(&self) {
        let repair = |state: &mut State| {
            // The waiting changes continue when the lock is released.
            self.repaired.notify_all();
            state.view.check()?;
            match state.repair_next()? {
                true => Ok(true),
                false => state.finish_repairs(),
            }
        };

        // Stop at an error, because the work has no caller to return it to. If memory is short, try
        // again later.
        loop {
            match self.change_any(repair) {
                Ok(true) => (),
                Err(ENOMEM) => return self.repair_work.schedule(),
                _ => return,
            }
        }
    }
}

impl State {
    /// Repairs some blocks whose delay is over. Returns whether there may be more.
    ///
    /// A block that cannot be repaired stays bad. If it is a copy, the other copy is used. If it is
    /// data, it stays unused. [`check_copies()`](Self::check_copies) shuts the filesystem down if
    /// both copies stay bad. Blocks whose repair fails because memory is short are queued again.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short. The queue has not changed then.
    fn repair_next(&mut self) -> Result<bool> {
        // Memory to queue each block again.
        self.repairs.reserve(MAX_REPAIRED as usize)?;

        // To free a repaired block of data is a change, and changes must wait for bad pairs.
        let only_copies = self.must_repair_first();
        let Some(blocks) = self.repairs.take(&self.metadata.bad, only_copies) else {
            return Ok(false);
        };

        // A read-only volume cannot be repaired, and no change will use its bad blocks.
        if self.volume.is_read_only() {
            return Ok(true);
        }

        let failed = match self.metadata.bad.contains(blocks.start) {
            true => self.repair_copies(&blocks),
            false => self.repair_data(&blocks),
        };

        if failed != 0 {
            pr_warn!(
                "{}: {failed} of the blocks {:#x}..{:#x} are bad and cannot be repaired\n",
                self.volume,
                blocks.start,
                blocks.end
            );
        }
        Ok(true)
    }

    /// Finishes a run of the repair work, after the last block whose delay is over: records bad
    /// ranges, removes inodes that await eviction, and removes chunks. Returns whether there are
    /// more inodes to remove.
    fn finish_repairs(&mut self) -> Result<bool> {
        // The queue still has blocks that have failed less than a second ago, or whose repair waits
        // for the repair of copies. An eviction below can fail because memory is short. In both
        // cases another run is needed.
        if !self.repairs.is_empty() || self.evict_from.is_some() {
            self.repair_work.schedule();
        }
        self.check_copies()?;
        if self.must_repair_first() {
            return Ok(false);
        }
        self.waiting_since = None;
        self.record_bad_ranges()?;

        self.remove_unused()?;

        let has_more = self.evict_waiting()?;

        if !self.volume.is_read_only() {
            self.shrink();
        }
        Ok(has_more)
    }

    /// Repairs bad blocks of data that no file owns. Returns how many cannot be repaired.
    fn repair_data(&mut self, blocks: &Range<u64>) -> usize {
        let mut good = blocks.start..blocks.start;
        let mut failed = 0_usize;

        for block in blocks.clone() {
            match self.repair_block(block) {
                Ok(true) => good.end = block.saturating_add(1),
                result => {
                    failed = failed.saturating_add(result.is_err().into());
                    self.free_repaired(good);
                    good = block.saturating_add(1)..block.saturating_add(1);
                }
            }
        }
        self.free_repaired(good);
        failed
    }

    /// Repairs a block of data. Returns false if the block is not bad any more, or has an owner.
    fn repair_block(&self, block: u64) -> Result<bool> {
        let blocks = block..block.saturating_add(1);

        if !self.view.bad.contains(block) || self.view.owners.of(blocks).next().is_some() {
            return Ok(false);
        }

        self.volume.repair(block << BLOCK_SHIFT, &ZEROES)?;
        Ok(true)
    }

    /// Repairs blocks that have another copy. Returns how many cannot be repaired.
    fn repair_copies(&mut self, blocks: &Range<u64>) -> usize {
        let mut failed = 0_usize;

        for block in blocks.clone() {
            match self.repair_copy(block) {
                Ok(()) => (),
                Err(ENOMEM) => self.repairs.add(block..block.saturating_add(1)),
                Err(_) => failed = failed.saturating_add(1),
            }
        }
        failed
    }

    /// Rewrites a block that has another copy.
    fn repair_copy(&mut self, block: u64) -> Result {
        match self.place(block) {
            Place::Super(copy) => self.repair_superblock(copy)?,
            // The repair erases transactions. They must be durable in place first, because the
            // other copy can be bad, too.
            Place::Journal(_) => {
                self.volume.fence()?;
                self.volume.repair(block << BLOCK_SHIFT, &ZEROES)?;
            }
            Place::Metadata(copy, number) => self.metadata.repair(&self.view, copy, number)?,
            Place::Data | Place::Unused => {}
        }

        self.metadata.bad.reserve()?;
        self.metadata.bad.remove(&(block..block.saturating_add(1)));
        Ok(())
    }

    /// Shuts the filesystem down if both copies of a block are bad, and no repair of a copy is
    /// pending.
    fn check_copies(&mut self) -> Result {
        let is_early = self.volume.is_read_only() || self.repairs.has_copies(&self.metadata.bad);
        let block = match is_early {
            true => None,
            false => self.bad_pair(),
        };

        let Some(block) = block else {
            return Ok(());
        };

        self.view
            .change()
            .shut_down(fmt!("block {block:#x} is bad, and so is its other copy"));
        Err(EIO)
    }

    /// Frees repaired blocks that no file owns.
    fn free_repaired(&mut self, good: Range<u64>) {
        let mut rest = good;

        while let Some(range) = self
            .view
            .bad
            .range_with(rest.start)
            .filter(|_| !rest.is_empty())
        {
            let part = intersection(&range.blocks, &rest);

            rest.start = part.end;
            if let Err(error) = self.free_repaired_part(range, part.clone()) {
                if error == ENOMEM {
                    return self.repairs.add(part.start..rest.end);
                }
                pr_warn!(
                    "{}: repaired blocks stay unused until the next mount: {error:?}\n",
                    self.volume
                );
                return;
            }
        }
    }

    /// Frees the repaired blocks `good`, a part of the bad range `range`, in one transaction.
    fn free_repaired_part(&mut self, range: BadRange, good: Range<u64>) -> Result {
        self.begin_change()?;

        let mut address = range.address;
        let mut parts = [const { None }; 2];

        for (part, blocks) in parts.iter_mut().zip(range.without(&good)) {
            if let Some(blocks) = blocks {
                let address = match range.address {
                    Some(_) => Some(self.plan_bad_range(address.take(), &blocks)?),
                    None => None,
                };

                *part = Some(BadRange { blocks, address });
            }
        }
        if let Some(address) = address {
            self.metadata.remove(&self.view, address)?;
        }

        self.view.change().bad.reserve()?;
        self.commit_contents(|view| view.bad.replace(range.blocks.start, parts))?;
        self.space.free(good);
        Ok(())
    }

    /// Plans the record of a bad range: at `address`, in place of the record there, or as a new
    /// record. Returns its address.
    fn plan_bad_range(&mut self, address: Option<u64>, blocks: &Range<u64>) -> Result<u64> {
        let record = Record::Bad {
            block: blocks.start,
            count: blocks.end.saturating_sub(blocks.start),
        };

        match address {
            Some(address) => self.metadata.replace(address, 0, &record).map(|()| address),
            None => self.add(0, &record),
        }
    }

    /// Records the bad ranges of data on the media, for the next mount.
    fn record_bad_ranges(&mut self) -> Result {
        if self.volume.is_read_only() {
            return Ok(());
        }

        while let Some(blocks) = self.view.bad.first_unrecorded() {
            let volume = self.volume.clone();

            self.record_bad_range(&blocks).inspect_err(|error| {
                pr_warn!("{volume}: bad blocks {blocks:x?} cannot be recorded: {error:?}\n");
            })?;
        }
        Ok(())
    }

    fn record_bad_range(&mut self, blocks: &Range<u64>) -> Result {
        self.begin_change()?;

        let address = self.plan_bad_range(None, blocks)?;

        self.commit(|view| view.bad.set_address(blocks.start, address))
    }
}
