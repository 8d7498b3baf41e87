// SPDX-License-Identifier: GPL-2.0

//! Records in memory which blocks are bad, and queues their repair.

use core::ops::Range;

use kernel::{
    alloc::KVVec,
    prelude::*, //
};

use crate::{
    blocks::{
        bytes,
        count,
        intersection, //
    },
    change::state::State, //
};

impl State {
    /// Notes that blocks are bad. Free blocks among them become used. Queues a repair of each newly
    /// bad copy, and of each free block. A block that could not be repaired is not queued again.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn note_failure(&mut self, bad: &Range<u64>) -> Result {
        let data = self.metadata.geometry().data();
        let ends = [0..data.start, data.end..self.metadata.geometry().blocks()];

        self.repair_work.schedule();
        self.repairs.postpone(bad)?;
        for end in ends {
            self.note_bad_copies(intersection(bad, &end))?;
        }
        self.note_data(intersection(bad, &data))
    }

    /// Notes that blocks of the data area are bad: copies of chunks, or data.
    fn note_data(&mut self, mut rest: Range<u64>) -> Result {
        while !rest.is_empty() {
            let (run, chunk) = self.view.owners.metadata_run(&rest);

            rest.start = run.end;
            match chunk {
                Some(_) => self.note_bad_copies(run)?,
                None => self.retire(&run)?,
            }
        }
        Ok(())
    }

    /// Notes that blocks of superblocks, journal or metadata are bad, and queues their repair.
    fn note_bad_copies(&mut self, mut rest: Range<u64>) -> Result {
        while !rest.is_empty() {
            let (run, is_bad_already) = self.metadata.bad.run(&rest);

            rest.start = run.end;
            if !is_bad_already {
                self.repairs.reserve(1)?;
                self.metadata.bad.add(&run, None)?;
                self.repairs.add(run);
            }
        }
        Ok(())
    }

    /// Notes the blocks that the device has listed as bad. They can have failed while the device
    /// had no holder to notify. Returns whether there are any.
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

    /// The blocks that the device has listed as bad, as ranges of one block each.
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

    /// Notes that blocks of data are bad. Marks the free blocks among them as used, and queues
    /// their repair.
    fn retire(&mut self, bad: &Range<u64>) -> Result {
        self.space.prepare(bad)?;
        self.view.change().bad.add(bad, None)?;
        // Blocks that a failed operation has allocated are free, too.
        self.space.rollback();
        self.repairs.reserve(1)?;
        while let Some(retired) = self.space.mark_bad(bad) {
            self.repairs.add(retired);
            self.repairs.reserve(1)?;
        }
        Ok(())
    }
}
