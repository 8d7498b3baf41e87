// SPDX-License-Identifier: GPL-2.0

//! Repairs bad blocks that no file has, and keeps records of those that are left.

use core::ops::Range;

use kernel::prelude::*;

use crate::{
    blocks::common,
    change::state::State,
    format::{
        Block,
        Place,
        Record,
        BLOCK_SHIFT,
        BLOCK_SIZE, //
    },
    incore::bad_blocks::BadRange,
    mounted::Mendfs, //
};

static ZEROES: Block = [0; BLOCK_SIZE];

impl Mendfs {
    /// Repairs what can be repaired at this moment.
    pub(crate) fn repair_all(&self) {
        // Nothing of it is an error that one could do anything about.
        while let Ok(true) = self.change_any(|state| {
            // They go on when the lock is given up.
            self.repaired.notify_all();
            state.view.check()?;
            match state.repair_next() {
                true => Ok(true),
                false => state.finish_repairs(),
            }
        }) {}
    }
}

impl State {
    /// Repairs some of what can be repaired. Returns whether there may be more.
    ///
    /// What cannot be repaired stays as it is: the other copy of it is used, or it is not used at
    /// all. If there is no other copy, that is the end.
    fn repair_next(&mut self) -> bool {
        // To use data again is a change.
        let only_copies = self.must_repair_first();
        let Some(blocks) = self.repairs.take(&self.metadata.bad, only_copies) else {
            return false;
        };

        // Memory that may not be written cannot be repaired. Nobody will write it either.
        if self.volume.is_read_only() {
            return true;
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
        true
    }

    /// Does what comes after the last that could be repaired at this moment. Returns whether there
    /// is more.
    fn finish_repairs(&mut self) -> Result<bool> {
        // Some have failed less than a second ago. What is left to be removed may lack memory now.
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

        let is_more = self.evict_waiting()?;

        self.shrink();
        Ok(is_more)
    }

    /// Repairs bad data that no file has. Returns how many blocks cannot be repaired.
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

    /// Repairs a block of data. Returns false if that was done before, and it is in use again.
    fn repair_block(&self, block: u64) -> Result<bool> {
        let blocks = block..block.saturating_add(1);

        if !self.view.bad.contains(block) || self.view.owners.of(blocks).next().is_some() {
            return Ok(false);
        }

        self.volume.repair(block << BLOCK_SHIFT, &ZEROES)?;
        Ok(true)
    }

    /// Repairs blocks that there are two copies of. Returns how many cannot be repaired.
    fn repair_copies(&mut self, blocks: &Range<u64>) -> usize {
        blocks
            .clone()
            .filter(|block| self.repair_copy(*block).is_err())
            .count()
    }

    /// Writes a block that there are two copies of anew.
    fn repair_copy(&mut self, block: u64) -> Result {
        match self.place(block) {
            Place::Super(copy) => self.repair_superblock(copy)?,
            // What it held must be in place, for the other copy may be bad, too.
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

    /// Shuts the filesystem down if both copies of something are bad after all copies were repaired
    /// that can be.
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

    /// Makes bad blocks that no file has free: they are good.
    fn free_repaired(&mut self, good: Range<u64>) {
        let mut rest = good;

        while let Some(range) = self
            .view
            .bad
            .around(rest.start)
            .filter(|_| !rest.is_empty())
        {
            let part = common(&range.blocks, &rest);

            rest.start = part.end;
            if let Err(error) = self.free_repaired_part(range, part) {
                pr_warn!(
                    "{}: blocks that are good again cannot be used: {error:?}\n",
                    self.volume
                );
                return;
            }
        }
    }

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

    /// Plans the record of a bad range, in the place of another or as a new one. Returns its
    /// address.
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

    /// Writes down which data is bad, for the next mount.
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
