// SPDX-License-Identifier: GPL-2.0

//! Adds, replaces and removes records, in changes that are durable as a whole or not at all.

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
    /// Discards the change since the last commit, if any.
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
        self.lower_hints(block);
    }

    /// Notes that `block` may have room for a record of any length.
    pub(super) fn lower_hints(&mut self, block: u64) {
        for hint in self.hints.iter_mut().rev() {
            if *hint <= block {
                break;
            }
            *hint = block;
        }
    }

    /// Notes that no block before `block` has room for a record of `len` units or more.
    fn raise_hints(&mut self, block: u64, len: usize) {
        for hint in self.hints.get_mut(len..).unwrap_or(&mut []) {
            if *hint >= block {
                break;
            }
            *hint = block;
        }
    }

    /// Allocates `len` free units in a row of one block. Returns the address of the first unit.
    fn allocate(&mut self, view: &mut Writer<View>, len: u64) -> Result<u64> {
        // CAST: A `usize` has 64 bits. A record that is too long has no hint.
        let mut number = *self.hints.get(len as usize).ok_or(ENOSPC)?;
        let mut found = None;

        loop {
            let chunk = self.geometry().chunk_of(number);

            // CAST: The format limits the number.
            let used = match self.chunks.get(chunk as usize) {
                None => break,
                Some(Some(cached)) if !cached.is_full() => cached.used.get(self.index(number)),
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
        // CAST: A record has fewer than 64 units.
        self.raise_hints(number, len as usize);

        let unit = found.ok_or(ENOSPC)?;
        let address = number.saturating_mul(UNITS).saturating_add(unit);

        self.change.added.reserve(1, GFP_KERNEL)?;
        cache_block(view, number)?;
        if let Some(used) = self.used_mut(number) {
            *used |= mask(unit, len);
        }
        self.count_used(number, len, true);
        // This cannot fail: the memory is reserved.
        let _ = self.change.added.push_within_capacity(Run { address, len });
        Ok(address)
    }

    /// Plans a new record, which belongs to `inode`. Returns its address.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if no block has room for it.
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

    /// Plans the record of a new inode. Returns the number of the inode.
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

    /// Plans new contents for the record at `address`. The length must be that of the old record.
    /// The text must be the same, too, because readers can read it from the table before the change
    /// is durable.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn replace(&mut self, address: u64, inode: u64, record: &Record<'_>) -> Result {
        // CAST: A record has fewer than 64 units.
        let len = record.unit_count() as usize * UNIT_SIZE;
        let bytes = self.scratch.get_mut(..len).ok_or(EINVAL)?;

        record.write(inode, bytes);

        for (address, unit) in (address..).zip(bytes.as_chunks_of_units()) {
            self.change.units.push((address, *unit), GFP_KERNEL)?;
        }
        Ok(())
    }

    /// Plans the removal of a record.
    ///
    /// # Errors
    ///
    /// - `EUCLEAN` if there is no record at `address`, or it is damaged.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn remove(&mut self, view: &View, address: u64) -> Result {
        let record = view.table.record(address)?;
        let len = record.unit_count();

        if record.is_read_in_place() {
            let block = view.table.block(address / UNITS).ok_or(EUCLEAN)?;
            let units = units_from(block, address).as_chunks_of_units();
            let end = address.saturating_add(len);

            for unit in (address..end).zip(units).map(|(at, unit)| (at, *unit)) {
                self.change.read.push(unit, GFP_KERNEL)?;
            }
        }
        self.remove_run(Run { address, len })
    }

    /// Plans the removal of the record of an inode.
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

    /// Whether the transaction has room for one more record of any length.
    pub(crate) fn has_room_for_record(&self) -> bool {
        // At most one header for each unit.
        let most = self.change.units.len().saturating_mul(2);

        most < self.journal.room().saturating_sub(UNITS as usize)
    }

    /// Makes the change durable, as a whole or not at all. Then makes it visible, and calls
    /// `publish` in the same step.
    ///
    /// # Errors
    ///
    /// - `EIO` if the journal cannot be written. Then the filesystem is shut down.
    /// - `E2BIG` if the change is too large for the journal, and `ENOMEM` if memory is short. Then
    ///   nothing is changed.
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

    /// Collects the metadata blocks that the change writes.
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

    /// Writes the change to the cached blocks, seals them, and adds their headers to the change.
    /// Units of removed records that readers can still read keep their old contents.
    pub(super) fn seal(&mut self, view: &mut View) {
        view.table.put(&self.change.units);

        let superblock = self.superblock;
        let sequence = self.journal.sequence().saturating_add(1);
        let touched = mem::take(&mut self.change.touched);

        for block in &touched {
            let cached = self.chunk(self.geometry().chunk_of(*block));
            let (Some(CachedChunk { chunk, .. }), Some(bytes)) =
                (cached, view.table.block_mut(*block))
            else {
                continue;
            };

            chunk.seal(&superblock, *block, sequence, bytes, crc32c);

            if let Some(unit) = bytes.first_chunk().copied() {
                // This cannot fail: `commit()` has reserved the memory.
                let _ = self
                    .change
                    .units
                    .push_within_capacity((block.saturating_mul(UNITS), unit));
            }
        }
        self.change.touched = touched;
        view.table.swap(&mut self.change.read);
    }

    /// Makes the change visible to readers.
    fn publish(&mut self, view: &mut View, publish: impl FnOnce(&mut View)) {
        view.table.swap(&mut self.change.read);
        publish(view);
    }

    /// Writes the units of the change in place, in both copies. Bad memory in one copy of a unit is
    /// no error. If neither copy can be written, shuts the filesystem down.
    fn write_in_place(&mut self, view: &mut Writer<View>) {
        // Consecutive units of one block are written at once.
        let is_next = |(address, _): &(u64, Unit), (next, _): &(u64, Unit)| {
            address.saturating_add(1) == *next && next % UNITS != 0
        };
        // Write all of copy 0 first, and then copy 1, because the units of one copy lie close
        // together.
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

    /// Writes consecutive units of one block in a copy, from the cached block. Returns whether they
    /// were written.
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
        // CAST: A `usize` has 64 bits.
        let start = (block << BLOCK_SHIFT).saturating_add(offset(*address) as u64);
        let bytes = view
            .table
            .block(number)
            .and_then(|bytes| units_from(bytes, *address).get(..run.len().checked_mul(UNIT_SIZE)?));

        // If the block is known to be bad, a later repair writes all of it.
        match bytes {
            Some(bytes) if !self.bad.contains(block) => {
                writer.write(start, bytes).is_ok() || self.repair(view, copy, number).is_ok()
            }
            _ => false,
        }
    }
}

/// Splits bytes into units.
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
    /// Whether readers read the record from the table. They read all other kinds from other
    /// structures in memory.
    fn is_read_in_place(&self) -> bool {
        matches!(
            self,
            Self::Name { .. } | Self::Attribute { .. } | Self::Target(_)
        )
    }
}
