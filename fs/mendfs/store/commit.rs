// SPDX-License-Identifier: GPL-2.0

//! How records are added, replaced and removed, in a change that is durable all of it or not
//! at all.

use core::mem;

use daxmf::{
    crc32c::crc32c,
    fs,
    single_writer::Writer, //
};
use kernel::prelude::*;

use crate::{
    format::{
        Inode,
        Record,
        BLOCK_SHIFT,
        COPIES,
        UNITS,
        UNIT_SIZE, //
    },
    incore::{
        table::{
            offset,
            units_from,
            Unit, //
        },
        view::View, //
    },
    store::{
        cached::{
            find_free,
            mask,
            CachedChunk, //
        },
        metadata::{
            cache_block,
            Change,
            Metadata,
            Run, //
        },
    },
};

impl Metadata {
    /// Undoes what was changed since the last commit, if anything.
    pub(crate) fn rollback(&mut self) {
        while let Some(run) = self.change.added.pop() {
            self.release(run);
        }
        self.change.units.clear();
        self.change.freed.clear();
        self.change.read.clear();
    }

    fn release(&mut self, run: Run) {
        let block = run.address / UNITS;

        if let Some(used) = self.used_mut(block) {
            *used &= !mask(run.address, run.len);
            self.count_used(block, run.len, false);
        }
        self.has_room_from(block);
    }

    /// Says that a block may have room for any record.
    pub(super) fn has_room_from(&mut self, block: u64) {
        for hint in self.hints.iter_mut().rev() {
            if *hint <= block {
                break;
            }
            *hint = block;
        }
    }

    /// Says that no block before this one has room for a record of so many units, or for a longer
    /// one.
    fn has_no_room_before(&mut self, block: u64, len: usize) {
        for hint in self.hints.get_mut(len..).unwrap_or(&mut []) {
            if *hint >= block {
                break;
            }
            *hint = block;
        }
    }

    /// Finds room for `len` units.
    fn allocate(&mut self, view: &mut Writer<View>, len: u64) -> Result<u64> {
        // CAST: A record has less than 64 units.
        let mut number = *self.hints.get(len as usize).ok_or(ENOSPC)?;
        let mut found = None;

        loop {
            let chunk = self.geometry().chunk_of(number);

            // CAST: The format limits the number.
            let used = match self.chunks.get(chunk as usize) {
                None => break,
                Some(Some(kept)) if !kept.is_full() => kept.used.get(self.index(number)),
                Some(_) => {
                    number = self.geometry().chunk_blocks(chunk).end;
                    continue;
                }
            };

            found = find_free(used.copied().unwrap_or(u64::MAX), len);
            if found.is_some() {
                break;
            }
            number = number.saturating_add(1);
        }
        // CAST: A record has less than 64 units.
        self.has_no_room_before(number, len as usize);

        let unit = found.ok_or(ENOSPC)?;
        let address = number.saturating_mul(UNITS).saturating_add(unit);

        self.change.added.reserve(1, GFP_KERNEL)?;
        cache_block(view, number)?;
        if let Some(used) = self.used_mut(number) {
            *used |= mask(unit, len);
        }
        self.count_used(number, len, true);
        // There is room: it was reserved.
        let _ = self.change.added.push_within_capacity(Run { address, len });
        Ok(address)
    }

    /// Adds a record, which belongs to `inode`. Returns its address.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if there is no room.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn add(
        &mut self,
        view: &mut Writer<View>,
        inode: u64,
        record: &Record<'_>,
    ) -> Result<u64> {
        let address = self.allocate(view, record.unit_count())?;

        self.replace(address, inode, record)?;
        Ok(address)
    }

    /// Adds the record of an inode. Returns its number.
    ///
    /// # Errors
    ///
    /// - As [`add()`](Self::add).
    pub(crate) fn add_inode(
        &mut self,
        view: &mut Writer<View>,
        record: &Record<'_>,
    ) -> Result<u64> {
        let number = self.allocate(view, record.unit_count())?;

        self.replace(number, number, record)?;
        Ok(number)
    }

    /// Puts a record in the place of one that has the same length. What of it is read is the same.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn replace(&mut self, address: u64, inode: u64, record: &Record<'_>) -> Result {
        // CAST: A record has less than 64 units.
        let len = record.unit_count() as usize * UNIT_SIZE;
        let bytes = self.scratch.get_mut(..len).ok_or(EINVAL)?;

        record.write(inode, bytes);

        for (address, unit) in (address..).zip(bytes.as_chunks_of_units()) {
            self.change.units.push((address, *unit), GFP_KERNEL)?;
        }
        Ok(())
    }

    /// Removes a record.
    ///
    /// # Errors
    ///
    /// - `EUCLEAN` if there is none.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn remove(&mut self, view: &View, address: u64) -> Result {
        let record = view.table.record(address)?;
        let len = record.unit_count();

        if record.is_read() {
            let block = view.table.block(address / UNITS).ok_or(EUCLEAN)?;
            let units = units_from(block, address).as_chunks_of_units();
            let end = address.saturating_add(len);

            for unit in (address..end).zip(units).map(|(at, unit)| (at, *unit)) {
                self.change.read.push(unit, GFP_KERNEL)?;
            }
        }
        self.remove_run(Run { address, len })
    }

    /// Removes the record of an inode.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn remove_inode(&mut self, number: u64) -> Result {
        self.remove_run(Run {
            address: number,
            len: Inode::UNITS,
        })
    }

    fn remove_run(&mut self, run: Run) -> Result {
        for unit in run.address..run.address.saturating_add(run.len) {
            self.change.units.push((unit, [0; UNIT_SIZE]), GFP_KERNEL)?;
        }
        Ok(self.change.freed.push(run, GFP_KERNEL)?)
    }

    /// Whether the transaction has room for one more record.
    pub(crate) fn has_room_beside(&self) -> bool {
        // As many headers, at most.
        let most = self.change.units.len().saturating_mul(2);

        most < self.journal.room().saturating_sub(UNITS as usize)
    }

    /// Makes the change durable, all of it or nothing, and then visible, with what `publish` does.
    ///
    /// # Errors
    ///
    /// - `EIO` if it cannot be written. Then nothing can be changed any more.
    /// - `E2BIG` if it is too large for the journal, and `ENOMEM` if memory is short. Then nothing
    ///   has happened.
    pub(crate) fn commit(
        &mut self,
        view: &mut Writer<View>,
        publish: impl FnOnce(&mut View),
    ) -> Result {
        if self.change.units.is_empty() {
            publish(&mut view.change());
            return Ok(());
        }

        self.find_touched()?;

        let headers = self.change.touched.len();
        let count = self.change.units.len().saturating_add(headers);

        self.journal.check_room(count)?;
        self.change.units.reserve(headers, GFP_KERNEL)?;

        self.seal(&mut view.change());
        self.journal
            .write(&self.volume, &self.bad, &self.change.units)
            .inspect_err(|_| view.change().shut_down("journal cannot be written"))?;
        self.publish(&mut view.change(), publish);
        self.write_in_place(view);

        self.change.units.clear();
        self.change.added.clear();
        self.change.read.clear();
        while let Some(run) = self.change.freed.pop() {
            self.release(run);
        }
        Ok(())
    }

    /// Finds the blocks that the change is in.
    fn find_touched(&mut self) -> Result {
        let Change { units, touched, .. } = &mut self.change;

        touched.clear();
        for (address, _) in units {
            let block = *address / UNITS;

            if !touched.contains(&block) {
                touched.push(block, GFP_KERNEL)?;
            }
        }
        Ok(())
    }

    /// Changes the blocks in memory, writes their headers anew, and adds these to the change. What
    /// somebody may read stays as it is.
    pub(super) fn seal(&mut self, view: &mut View) {
        view.table.put(&self.change.units);

        let superblock = self.superblock;
        let sequence = self.journal.sequence().saturating_add(1);
        let touched = mem::take(&mut self.change.touched);

        for block in &touched {
            let kept = self.chunk(self.geometry().chunk_of(*block));
            let (Some(CachedChunk { chunk, .. }), Some(bytes)) =
                (kept, view.table.block_mut(*block))
            else {
                continue;
            };

            chunk.seal(&superblock, *block, sequence, bytes, crc32c);

            if let Some(unit) = bytes.first_chunk().copied() {
                // There is room: `commit()` has reserved it.
                let _ = self
                    .change
                    .units
                    .push_within_capacity((block.saturating_mul(UNITS), unit));
            }
        }
        self.change.touched = touched;
        view.table.swap(&mut self.change.read);
    }

    /// Makes the change visible.
    fn publish(&mut self, view: &mut View, publish: impl FnOnce(&mut View)) {
        view.table.swap(&mut self.change.read);
        publish(view);
    }

    /// Writes the units of the change where they belong, in both copies. Memory that is bad and
    /// cannot be repaired is put up with in one of them.
    fn write_in_place(&mut self, view: &mut Writer<View>) {
        // Those in a row of one block are written at once.
        let is_next = |(address, _): &(u64, Unit), (next, _): &(u64, Unit)| {
            address.saturating_add(1) == *next && next % UNITS != 0
        };
        // A copy after the other, for these lie close together.
        let has_failed = self.volume.with_writer(|writer| {
            let mut has_failed = false;

            for copy in 0..COPIES {
                for run in self.change.units.chunk_by(is_next) {
                    let is_written = self.write_run(view, writer, copy, run)
                        || (0..COPIES).any(|copy| self.write_run(view, writer, copy, run));

                    has_failed |= !is_written;
                }
            }
            has_failed
        });

        if has_failed.unwrap_or(true) {
            view.change().shut_down("metadata cannot be written");
        }
    }

    /// Writes units in a row, as they are in memory.
    fn write_run(
        &self,
        view: &View,
        writer: &mut fs::Writer<'_>,
        copy: u64,
        run: &[(u64, Unit)],
    ) -> bool {
        let Some((address, _)) = run.first() else {
            return true;
        };
        let number = address / UNITS;
        let Some(block) = self.place(copy, number) else {
            return false;
        };
        // CAST: A `usize` is a `u64`.
        let start = (block << BLOCK_SHIFT).saturating_add(offset(*address) as u64);
        let bytes = view
            .table
            .block(number)
            .and_then(|bytes| units_from(bytes, *address).get(..run.len().checked_mul(UNIT_SIZE)?));

        // A block that is bad is written as a whole when it is repaired.
        match bytes {
            Some(bytes) if !self.bad.contains(block) => {
                writer.write(start, bytes).is_ok() || self.repair(view, copy, number).is_ok()
            }
            _ => false,
        }
    }
}

/// Whole units of a record.
trait AsUnits {
    fn as_chunks_of_units(&self) -> impl Iterator<Item = &Unit>;
}

impl AsUnits for [u8] {
    fn as_chunks_of_units(&self) -> impl Iterator<Item = &Unit> {
        self.chunks_exact(UNIT_SIZE)
            .filter_map(|unit| unit.first_chunk())
    }
}

impl Record<'_> {
    /// Whether somebody may read it: all others are in memory in another way, too.
    fn is_read(&self) -> bool {
        matches!(
            self,
            Self::Name { .. } | Self::Attribute { .. } | Self::Target(_)
        )
    }
}
