// SPDX-License-Identifier: GPL-2.0

//! The journal, which makes each transaction durable as a whole or not at all.
//!
//! Transaction n is written to its slot in both copies of the journal, then a fence follows, and
//! then its units are written in place. The fence also makes the writes in place of transaction
//! n - 1 durable. So transaction n + 1 can overwrite the slot of n - 1. At any moment, units that
//! are not durable in place are in one of the two slots.

use daxmf::{
    crc32c::crc32c,
    fs::Volume, //
};
use kernel::{
    alloc::KVVec,
    prelude::*, //
};

use crate::{
    format::{
        Block,
        Geometry,
        Header,
        Magic,
        Transaction,
        Uuid,
        BLOCK_SHIFT,
        BLOCK_SIZE,
        SLOTS,
        UNIT_SIZE, //
    },
    incore::{
        bad_blocks::BadBlocks,
        table::Unit, //
    },
};

/// A unit of a transaction in the journal.
pub(crate) struct LoggedUnit {
    pub(crate) sequence: u64,
    pub(crate) address: u64,
    pub(crate) unit: Unit,
}

/// Writes and reads transactions.
pub(crate) struct Journal {
    geometry: Geometry,
    uuid: Uuid,
    /// The number of the last transaction.
    sequence: u64,
    /// A buffer as long as a slot.
    image: KVVec<u8>,
}

impl Journal {
    /// Creates the state of a journal before its transactions are read.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn new(geometry: Geometry, uuid: Uuid) -> Result<Self> {
        Ok(Self {
            uuid,
            sequence: 0,
            image: KVVec::from_elem(0, geometry.slot_size(), GFP_KERNEL)?,
            geometry,
        })
    }

    /// Sets the geometry after growth, which does not change the size of the slots.
    pub(crate) fn set_geometry(&mut self, geometry: Geometry) {
        self.geometry = geometry;
    }

    /// The number of the last transaction.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Continues after transaction `sequence` if that is later than the last one in the journal.
    pub(crate) fn advance_to(&mut self, sequence: u64) {
        self.sequence = self.sequence.max(sequence);
    }

    /// The number of units that certainly fit a slot.
    pub(crate) fn room(&self) -> usize {
        // Each unit also needs an address. Subtract one unit for the header, and one because the
        // addresses are padded to whole units.
        self.image.len().saturating_sub(2 * UNIT_SIZE) / (UNIT_SIZE + size_of::<u64>())
    }

    /// Checks that `count` units fit a slot.
    ///
    /// # Errors
    ///
    /// - `E2BIG` if they do not fit.
    pub(crate) fn check_room(&self, count: usize) -> Result {
        if Transaction::size(count) > self.image.len() {
            return Err(E2BIG);
        }
        Ok(())
    }

    /// The first byte on the volume of the slot for a transaction.
    fn start(&self, copy: u64, sequence: u64) -> u64 {
        self.geometry.slot(copy, sequence % SLOTS) << BLOCK_SHIFT
    }

    /// Writes units as the next transaction, and makes it durable.
    ///
    /// # Errors
    ///
    /// - `EIO` if no copy can be written, or the device cannot be flushed. Then the caller must
    ///   shut the filesystem down.
    /// - `E2BIG` if the units do not fit a slot.
    pub(crate) fn write(
        &mut self,
        volume: &Volume,
        bad: &BadBlocks,
        units: &[(u64, Unit)],
    ) -> Result {
        let sequence = self.sequence.checked_add(1).ok_or(EOVERFLOW)?;
        let starts = [self.start(0, sequence), self.start(1, sequence)];
        let size = Transaction::size(units.len());
        let image = self.image.get_mut(..size).ok_or(E2BIG)?;

        let count = u32::try_from(units.len()).map_err(|_| E2BIG)?;

        Transaction::set_count(image, count);
        for (index, (address, unit)) in units.iter().enumerate() {
            Transaction::set_unit(image, units.len(), index, *address, unit);
        }
        Header {
            magic: Magic::Journal,
            uuid: self.uuid,
            address: sequence % SLOTS,
            sequence,
        }
        .seal(image, crc32c);

        let written = starts
            .iter()
            .filter(|start| write_copy(volume, bad, **start, image))
            .count();

        // One copy is enough where the memory of the other copy is bad.
        if written == 0 {
            return Err(EIO);
        }

        volume.fence()?;
        self.sequence = sequence;
        Ok(())
    }

    /// Reads the transactions that may not be in place yet, the older one first. The next
    /// transaction to write is the one after the newer one.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn read(&mut self, volume: &Volume) -> Result<KVec<LoggedUnit>> {
        let mut units = KVec::new();
        let mut slots = [self.read_slot(volume, 0)?, self.read_slot(volume, 1)?];

        slots.sort_unstable_by_key(|slot| slot.as_ref().map_or(0, |slot| slot.0));

        let newest = slots.iter().flatten().map(|slot| slot.0).max().unwrap_or(0);

        for (sequence, image) in slots.iter().flatten() {
            // Older transactions were durable in place before the newest one was written.
            if sequence.saturating_add(1) >= newest {
                add_units(*sequence, image, &mut units)?;
            }
        }
        self.sequence = newest;
        Ok(units)
    }

    /// Reads a slot from the intact copy with the later transaction.
    fn read_slot(&mut self, volume: &Volume, slot: u64) -> Result<Option<(u64, KVVec<u8>)>> {
        let first = self.read_copy(volume, 0, slot)?;
        let second = self.read_copy(volume, 1, slot)?;
        let sequence = |copy: &Option<(u64, KVVec<u8>)>| copy.as_ref().map_or(0, |copy| copy.0);

        Ok(match sequence(&first) >= sequence(&second) {
            true => first,
            false => second,
        })
    }

    /// Reads a copy of a slot. Returns [`None`] if it is not intact.
    fn read_copy(
        &mut self,
        volume: &Volume,
        copy: u64,
        slot: u64,
    ) -> Result<Option<(u64, KVVec<u8>)>> {
        let start = self.start(copy, slot);
        let first = self.image.get_mut(..BLOCK_SIZE).ok_or(EINVAL)?;

        // Read the first block for the length, and then only the transaction. Bad blocks after it
        // do not matter.
        if volume.read(start, first).is_err() {
            return Ok(None);
        }

        let (count, size) = Transaction::count(&self.image).unwrap_or((0, 0));
        let image = self.image.get_mut(..size).unwrap_or(&mut []);

        if volume.read(start, image).is_err() {
            return Ok(None);
        }

        match Header::open(image, Magic::Journal, slot, crc32c) {
            Ok(header)
                if header.uuid == self.uuid
                    && header.sequence % SLOTS == slot
                    && Transaction::misplaced(image, count).is_none() =>
            {
                let mut copy = KVVec::new();

                copy.extend_from_slice(image, GFP_KERNEL)?;
                Ok(Some((header.sequence, copy)))
            }
            _ => Ok(None),
        }
    }
}

/// Writes a copy of a transaction, unless a block of it is known to be bad. Returns whether the
/// copy was written.
fn write_copy(volume: &Volume, bad: &BadBlocks, start: u64, image: &[u8]) -> bool {
    let blocks = (start >> BLOCK_SHIFT..).zip(image.chunks(BLOCK_SIZE));
    let is_bad = blocks.clone().any(|(block, _)| bad.contains(block));

    !is_bad && (volume.write(start, image).is_ok() || repair_copy(volume, blocks).is_ok())
}

/// Writes whole blocks, and clears bad memory. It is for a bad block that only a failed write has
/// found: the filesystem was not notified of it.
fn repair_copy<'a>(volume: &Volume, blocks: impl Iterator<Item = (u64, &'a [u8])>) -> Result {
    let mut whole: KBox<Block> = KBox::new([0; BLOCK_SIZE], GFP_KERNEL)?;

    for (block, bytes) in blocks {
        for (to, from) in whole.iter_mut().zip(bytes) {
            *to = *from;
        }
        volume.repair(block << BLOCK_SHIFT, &whole)?;
    }
    Ok(())
}

fn add_units(sequence: u64, image: &[u8], units: &mut KVec<LoggedUnit>) -> Result {
    let count = Transaction::count(image).map_or(0, |(count, _)| count);

    for index in 0..count {
        if let Some((address, unit)) = Transaction::unit(image, count, index) {
            units.push(
                LoggedUnit {
                    sequence,
                    address,
                    unit: *unit,
                },
                GFP_KERNEL,
            )?;
        }
    }
    Ok(())
}
