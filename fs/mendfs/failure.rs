// SPDX-License-Identifier: GPL-2.0

//! Memory failures: from blocks of the device to the files that own them, and mending.

use core::ops::Range;

use daxmf::{
    crc32c::crc32c,
    fs::SuperBlock,
    memory_failure::Flags,
    range::{
        space,
        ByteRange,
        PageRange, //
    },
};
use kernel::{
    alloc::KVVec,
    prelude::*, //
};

use crate::{
    bad::BadRange,
    contents::{
        blocks,
        bytes,
        common,
        count, //
    },
    format::{
        Block,
        Extent,
        Place,
        Record,
        BLOCK_SHIFT,
        BLOCK_SIZE, //
    },
    state::State,
    view::View,
    Mendfs, //
};

static ZEROES: Block = [0; BLOCK_SIZE];

/// Pages of a file that are lost.
#[derive(Clone, Copy)]
struct Lost {
    inode: u64,
    pages: PageRange<space::File>,
}

impl Lost {
    /// What of an extent of a file lies in `bad`, blocks of the device.
    fn of(inode: u64, extent: Extent, bad: &Range<u64>) -> Option<Self> {
        let part = common(&extent.blocks(), bad);
        let before = part.start.saturating_sub(extent.block);
        let first = extent.file_block.saturating_add(before);
        let pages = PageRange::new(first, part.end.saturating_sub(part.start))?;

        Some(Self { inode, pages })
    }
}

impl Mendfs {
    /// Tells the owners of `range` of the volume that it is lost, and keeps others from it.
    pub(crate) fn deal_with(
        &self,
        super_block: &SuperBlock<Self>,
        range: ByteRange<space::Volume>,
        flags: Flags,
    ) -> Result {
        let bad = blocks(range);

        // The lock is not held while they are told: a page fault that waits for it may hold what
        // `mf_dax_kill_procs()` waits for.
        let (noted, owners) = self.change_any(|state| {
            if flags.contains(Flags::MEM_PRE_REMOVE) {
                state
                    .view
                    .change()
                    .shut_down("device is about to be removed");
                self.mended.notify_all();
                return Ok((Ok(()), state.view.owners_of(&bad)));
            }
            Ok((state.note_failure(&bad), state.view.owners_of(&bad)))
        })?;

        let told = match owners {
            Ok(owners) => owners
                .iter()
                .map(|lost| super_block.notify_owners(lost.inode, lost.pages, flags))
                .fold(Ok(()), Result::and),
            Err(_) => self.tell_one_by_one(super_block, &bad, flags),
        };

        noted.and(told)
    }

    /// Tells the owners of some blocks without memory to collect them.
    fn tell_one_by_one(
        &self,
        super_block: &SuperBlock<Self>,
        bad: &Range<u64>,
        flags: Flags,
    ) -> Result {
        let mut result = Ok(());
        let mut next = (0, 0);

        while let Some((place, lost)) = self.look_any(|view| view.owner_from(bad, next))? {
            result = result.and(super_block.notify_owners(lost.inode, lost.pages, flags));
            next = place;
        }
        result
    }

    /// Mends what can be mended at this moment.
    pub(crate) fn mend_all(&self) {
        // Nothing of it is an error that one could do anything about.
        while let Ok(true) = self.change_any(|state| {
            // They go on when the lock is given up.
            self.mended.notify_all();
            state.view.check()?;
            match state.mend_some() {
                true => Ok(true),
                false => state.end_mending(),
            }
        }) {}
    }
}

impl View {
    /// The files that own a part of `blocks`.
    fn owners_of(&self, blocks: &Range<u64>) -> Result<KVVec<Lost>> {
        let mut all = KVVec::new();

        for (range, owner) in self.owners.of(blocks.clone()) {
            if !owner.is_file() {
                continue;
            }

            let extent = Extent {
                file_block: owner.file_block,
                block: range.start,
                count: range.end.saturating_sub(range.start),
            };

            if let Some(lost) = Lost::of(owner.inode, extent, blocks) {
                all.push(lost, GFP_KERNEL)?;
            }
        }
        Ok(all)
    }

    /// The first owner of a part of `blocks` in the order of files, from a block of an inode on,
    /// and where to go on behind it.
    fn owner_from(
        &self,
        blocks: &Range<u64>,
        (inode, block): (u64, u64),
    ) -> Option<((u64, u64), Lost)> {
        let mut block = block;

        for (number, node) in self
            .inodes
            .iter()
            .skip_while(|(number, _)| **number < inode)
        {
            while let Some(piece) = node.piece_from(block) {
                block = piece.extent.file_end();
                if let Some(lost) = Lost::of(*number, piece.extent, blocks) {
                    return Some(((*number, block), lost));
                }
            }
            block = 0;
        }
        None
    }
}

impl State {
    /// Notes that blocks are bad: what is free of them is not any more, and what no file owns is
    /// to be mended. What could not be mended is not tried again.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn note_failure(&mut self, bad: &Range<u64>) -> Result {
        let data = self.metadata.geometry().data();
        let ends = [0..data.start, data.end..self.metadata.geometry().blocks()];

        self.mending.ask();
        self.suspects.fail_again(bad)?;
        for end in ends {
            self.suspect_copies(common(bad, &end))?;
        }
        self.note_data(common(bad, &data))
    }

    /// The same for blocks among the data.
    fn note_data(&mut self, mut rest: Range<u64>) -> Result {
        while !rest.is_empty() {
            let (run, chunk) = self.view.owners.metadata_run(&rest);

            rest.start = run.end;
            match chunk {
                Some(_) => self.suspect_copies(run)?,
                None => self.retire(&run)?,
            }
        }
        Ok(())
    }

    /// Notes that those of some blocks that there are two copies of are bad.
    fn suspect_copies(&mut self, mut rest: Range<u64>) -> Result {
        while !rest.is_empty() {
            let (run, is_known) = self.metadata.bad.run(&rest);

            rest.start = run.end;
            if !is_known {
                self.suspects.reserve(1)?;
                self.metadata.bad.add(&run, None)?;
                self.suspects.add(run);
            }
        }
        Ok(())
    }

    /// Notes which of some blocks the device knows to be bad, without having told us: they may have
    /// failed while it had no holder. Returns whether there are such.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    /// - `ENXIO` if the device is dead.
    pub(crate) fn note_unreadable(&mut self, blocks: Range<u64>) -> Result<bool> {
        let bad = self.unreadable(blocks)?;

        for block in &bad {
            self.note_failure(block)?;
        }
        Ok(!bad.is_empty())
    }

    /// Those of some blocks that the device knows to be bad, one by one.
    ///
    /// # Errors
    ///
    /// - As [`note_unreadable()`](Self::note_unreadable).
    pub(crate) fn unreadable(&self, blocks: Range<u64>) -> Result<KVVec<Range<u64>>> {
        let mut start = blocks.start;
        let mut len = count(&blocks);
        let mut bad = KVVec::new();

        while start < blocks.end {
            let part = start..start.saturating_add(len).min(blocks.end);

            match self.volume.check(bytes(part.clone())?) {
                Ok(()) => {
                    start = part.end;
                    len = len.saturating_mul(2);
                }
                Err(EIO) if len == 1 => {
                    start = part.end;
                    bad.push(part, GFP_KERNEL)?;
                }
                Err(EIO) => len /= 2,
                Err(error) => return Err(error),
            }
        }
        Ok(bad)
    }

    /// Notes that data is bad.
    fn retire(&mut self, bad: &Range<u64>) -> Result {
        self.space.prepare(bad)?;
        self.view.change().bad.add(bad, None)?;
        // What an operation has taken and not used is free.
        self.space.begin();
        self.suspects.reserve(1)?;
        while let Some(retired) = self.space.retire(bad) {
            self.suspects.add(retired);
            self.suspects.reserve(1)?;
        }
        Ok(())
    }

    /// Mends some of what can be mended. Returns whether there may be more.
    ///
    /// What cannot be mended stays as it is: the other copy of it is used, or it is not used at
    /// all. If there is no other copy, that is the end.
    fn mend_some(&mut self) -> bool {
        // To use data again is a change.
        let only_copies = self.must_mend_first();
        let Some(blocks) = self.suspects.take(&self.metadata.bad, only_copies) else {
            return false;
        };

        // Memory that may not be written cannot be mended. Nobody will write it either.
        if self.volume.is_read_only() {
            return true;
        }

        let failed = match self.metadata.bad.contains(blocks.start) {
            true => self.mend_copies(&blocks),
            false => self.mend_data(&blocks),
        };

        if failed != 0 {
            pr_warn!(
                "{}: {failed} of the blocks {:#x}..{:#x} are bad and cannot be mended\n",
                self.volume,
                blocks.start,
                blocks.end
            );
        }
        true
    }

    /// Does what comes after the last that could be mended at this moment. Returns whether there
    /// is more.
    fn end_mending(&mut self) -> Result<bool> {
        // Some have failed less than a second ago. What is left to be removed may lack memory now.
        if !self.suspects.is_empty() || self.left_from.is_some() {
            self.mending.ask();
        }
        self.check_copies()?;
        if self.must_mend_first() {
            return Ok(false);
        }
        self.waiting = None;
        self.record_bad()?;

        let is_more = self.evict_left()?;

        self.shrink();
        Ok(is_more)
    }

    /// Mends bad data that no file has. Returns how many blocks cannot be mended.
    fn mend_data(&mut self, blocks: &Range<u64>) -> usize {
        let mut good = blocks.start..blocks.start;
        let mut failed = 0_usize;

        for block in blocks.clone() {
            match self.mend_datum(block) {
                Ok(true) => good.end = block.saturating_add(1),
                result => {
                    failed = failed.saturating_add(result.is_err().into());
                    self.forgive(good);
                    good = block.saturating_add(1)..block.saturating_add(1);
                }
            }
        }
        self.forgive(good);
        failed
    }

    /// Mends a block of data. Returns false if that was done before, and it is in use again.
    fn mend_datum(&self, block: u64) -> Result<bool> {
        let blocks = block..block.saturating_add(1);

        if !self.view.bad.contains(block) || self.view.owners.of(blocks).next().is_some() {
            return Ok(false);
        }

        self.volume.mend(block << BLOCK_SHIFT, &ZEROES)?;
        Ok(true)
    }

    /// Mends blocks that there are two copies of. Returns how many cannot be mended.
    fn mend_copies(&mut self, blocks: &Range<u64>) -> usize {
        blocks
            .clone()
            .filter(|block| self.mend_copy(*block).is_err())
            .count()
    }

    /// Writes a block that there are two copies of anew.
    fn mend_copy(&mut self, block: u64) -> Result {
        match self.place(block) {
            Place::Super(copy) => self.mend_superblock(copy)?,
            // What it held must be in place, for the other copy may be bad, too.
            Place::Journal(_) => {
                self.volume.fence()?;
                self.volume.mend(block << BLOCK_SHIFT, &ZEROES)?;
            }
            Place::Metadata(copy, number) => self.metadata.mend(&self.view, copy, number)?,
            Place::Data | Place::Unused => {}
        }

        self.metadata.bad.reserve()?;
        self.metadata.bad.remove(&(block..block.saturating_add(1)));
        Ok(())
    }

    /// What a block is for.
    fn place(&self, block: u64) -> Place {
        let one = block..block.saturating_add(1);
        let (start, owner) = match self.view.owners.metadata_run(&one) {
            (run, Some(owner)) => (run.start, owner),
            _ => return self.metadata.geometry().place(block),
        };
        let number = owner.chunk().and_then(|(chunk, copy)| {
            let number = self.metadata.block_at(chunk, copy, start)?;

            Some(Place::Metadata(copy, number))
        });

        number.unwrap_or(Place::Data)
    }

    /// The first bad block whose other copy is bad, too.
    fn lost_both(&self) -> Option<u64> {
        self.metadata
            .lost_both()
            .or_else(|| self.lost_both_of_chunk())
    }

    /// The same for the chunks of the metadata among the data.
    pub(crate) fn lost_both_of_chunk(&self) -> Option<u64> {
        let bad = &self.metadata.bad;
        let mut rest = self.metadata.geometry().data();

        while let Some(blocks) = bad.first_in(&rest) {
            for block in blocks.clone() {
                let other = match self.place(block) {
                    Place::Metadata(copy, number) => self.metadata.place(copy ^ 1, number),
                    _ => None,
                };

                if let Some(other) = other.filter(|other| bad.contains(*other)) {
                    return Some(other);
                }
            }
            rest.start = blocks.end;
        }
        None
    }

    /// Shuts the filesystem down if both copies of something are bad after all copies were mended
    /// that can be.
    fn check_copies(&mut self) -> Result {
        let is_early = self.volume.is_read_only() || self.suspects.has_copies(&self.metadata.bad);
        let block = match is_early {
            true => None,
            false => self.lost_both(),
        };

        let Some(block) = block else {
            return Ok(());
        };

        self.view
            .change()
            .shut_down(fmt!("block {block:#x} is bad, and so is its other copy"));
        Err(EIO)
    }

    /// Writes a copy of the superblock anew, unless it is as it should be.
    pub(crate) fn mend_superblock(&self, copy: u64) -> Result {
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
            _ => self.volume.mend(start, &wanted),
        }
    }

    /// Makes bad blocks that no file has free: they are good.
    fn forgive(&mut self, good: Range<u64>) {
        let mut rest = good;

        while let Some(range) = self
            .view
            .bad
            .around(rest.start)
            .filter(|_| !rest.is_empty())
        {
            let part = common(&range.blocks, &rest);

            rest.start = part.end;
            if let Err(error) = self.forgive_part(range, part) {
                pr_warn!(
                    "{}: blocks that are good again cannot be used: {error:?}\n",
                    self.volume
                );
                return;
            }
        }
    }

    fn forgive_part(&mut self, range: BadRange, good: Range<u64>) -> Result {
        self.begin()?;

        let mut address = range.address;
        let mut parts = [const { None }; 2];

        for (part, blocks) in parts.iter_mut().zip(range.without(&good)) {
            if let Some(blocks) = blocks {
                let address = match range.address {
                    Some(_) => Some(self.plan_bad(address.take(), &blocks)?),
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
        self.space.give(good);
        Ok(())
    }

    /// Plans the record of a bad range, in the place of another or as a new one. Returns its
    /// address.
    fn plan_bad(&mut self, address: Option<u64>, blocks: &Range<u64>) -> Result<u64> {
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
    fn record_bad(&mut self) -> Result {
        if self.volume.is_read_only() {
            return Ok(());
        }

        while let Some(blocks) = self.view.bad.first_unrecorded() {
            let volume = self.volume.clone();

            self.record(&blocks).inspect_err(|error| {
                pr_warn!("{volume}: bad blocks {blocks:x?} cannot be recorded: {error:?}\n");
            })?;
        }
        Ok(())
    }

    fn record(&mut self, blocks: &Range<u64>) -> Result {
        self.begin()?;

        let address = self.plan_bad(None, blocks)?;

        self.commit(|view| view.bad.set_address(blocks.start, address))
    }
}
