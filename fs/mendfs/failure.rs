// SPDX-License-Identifier: GPL-2.0

//! Memory failures: from blocks of the device to the files that own them.

use core::ops::Range;

use daxmf::{
    crc32c::crc32c,
    fs::SuperBlock,
    memory_failure::Flags,
    range::{
        ByteRange,
        FrameRange, //
    },
};
use kernel::prelude::*;

use crate::{
    contents::{
        blocks,
        bytes,
        common, //
    },
    format::{
        Block,
        Place,
        BLOCK_SHIFT,
        BLOCK_SIZE, //
    },
    state::State,
    Mendfs, //
};

/// Pages of a file that are lost.
#[derive(Clone, Copy)]
struct Lost {
    inode: u64,
    pages: FrameRange,
}

impl Mendfs {
    /// Tells the owners of `range` of the volume that it is lost, and keeps others from it.
    pub(crate) fn deal_with(
        &self,
        super_block: &SuperBlock<Self>,
        range: ByteRange,
        flags: Flags,
    ) -> Result {
        let is_removal = flags.contains(Flags::MEM_PRE_REMOVE);

        // The lock is not held while they are told: a page fault that waits for it may hold what
        // `mf_dax_kill_procs()` waits for.
        let lost = self.change_any(|state| {
            match is_removal {
                true => state.metadata.stop(),
                false => state.note_failure(&blocks(range))?,
            }
            state.owners_of(&blocks(range))
        })?;

        lost.iter()
            .map(|lost| tell(super_block, *lost, flags))
            .fold(Ok(()), Result::and)
    }
}

/// Tells the processes that have pages of a file mapped, and those who watch the filesystem.
fn tell(super_block: &SuperBlock<Mendfs>, lost: Lost, flags: Flags) -> Result {
    // What nobody uses nobody has mapped.
    let Some(inode) = super_block.find(lost.inode) else {
        return Ok(());
    };

    if !flags.contains(Flags::MEM_PRE_REMOVE) {
        if let Some(range) = lost.pages.bytes() {
            inode.report_data_lost(range);
        }
    }
    inode.kill_procs(lost.pages, flags)
}

impl State {
    /// The files that own a part of `blocks`.
    fn owners_of(&self, blocks: &Range<u64>) -> Result<KVec<Lost>> {
        let mut all = KVec::new();

        for (range, owner) in self.owners.of(blocks.clone()) {
            let part = common(&range, blocks);
            let first = owner
                .file_block
                .saturating_add(part.start.saturating_sub(range.start));

            if let Some(pages) = FrameRange::new(first, part.end.saturating_sub(part.start)) {
                let inode = owner.inode;

                all.push(Lost { inode, pages }, GFP_KERNEL)?;
            }
        }
        Ok(all)
    }

    /// Takes bad blocks from those that are free, and has all that no file owns mended later.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn note_failure(&mut self, bad: &Range<u64>) -> Result {
        let data = self.metadata.geometry().data();
        let ends = [0..data.start, data.end..self.metadata.geometry().blocks()];

        for end in ends {
            let bad = common(bad, &end);

            if !bad.is_empty() {
                self.suspects.push(bad, GFP_KERNEL)?;
            }
        }
        self.suspects.reserve(1, GFP_KERNEL)?;
        while let Some(retired) = self.space.retire(&common(bad, &data))? {
            // There is room: it was reserved.
            let _ = self.suspects.push_within_capacity(retired);
            self.suspects.reserve(1, GFP_KERNEL)?;
        }
        Ok(())
    }

    /// Mends what can be mended. What cannot stays as it is: the other copy of it is used, or it
    /// is not used at all.
    pub(crate) fn mend(&mut self) {
        let suspects = core::mem::take(&mut self.suspects);

        for range in suspects {
            for block in range {
                if let Err(error) = self.mend_block(block) {
                    pr_err!("block {block:#x} is bad and cannot be mended: {error:?}\n");
                }
            }
        }
    }

    /// Writes a copy of the superblock anew, unless it is as it should be.
    pub(crate) fn mend_superblock(&self, copy: u64) -> Result {
        let start = self.metadata.geometry().superblock(copy) << BLOCK_SHIFT;
        let mut found: KBox<Block> = KBox::new([0; BLOCK_SIZE], GFP_KERNEL)?;
        let mut wanted: KBox<Block> = KBox::new([0; BLOCK_SIZE], GFP_KERNEL)?;

        self.superblock().write(&mut wanted, crc32c);
        match self.volume.read(start, &mut *found) {
            Ok(()) if *found == *wanted => Ok(()),
            _ => self.volume.mend(start, &wanted),
        }
    }

    fn mend_block(&mut self, block: u64) -> Result {
        let empty: KBox<Block> = KBox::new([0; BLOCK_SIZE], GFP_KERNEL)?;

        match self.metadata.geometry().place(block) {
            Place::Super(copy) => self.mend_superblock(copy),
            // What it held is in the other copy, and in place with the next transaction.
            Place::Journal(_) => self.volume.mend(block << BLOCK_SHIFT, &empty),
            Place::Metadata(copy, number) => self.metadata.mend(copy, number),
            Place::Data => {
                let block = block..block.saturating_add(1);

                self.space.reserve(1)?;
                self.volume.zero(bytes(block.clone())?)?;
                self.space.give_once(block);
                Ok(())
            }
            Place::Unused => Ok(()),
        }
    }
}
