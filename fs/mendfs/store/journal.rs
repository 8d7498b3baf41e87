// SPDX-License-Identifier: GPL-2.0

//! The journal: what makes a change durable, all of it or nothing.
//!
//! A change is written to a slot of both copies of the journal, and then where it belongs. The one
//! fence between the two also makes the writes of the change before durable, in whose slot the
//! change after this one goes. So whatever moment the machine stops at, what is not in place yet is
//! in one of the two slots.

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

/// A unit that a transaction has written.
pub(crate) struct Logged {
    pub(crate) sequence: u64,
    pub(crate) address: u64,
    pub(crate) unit: Unit,
}

pub(crate) struct Journal {
    geometry: Geometry,
    uuid: Uuid,
    sequence: u64,
    image: KVVec<u8>,
}

impl Journal {
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

    /// Takes the sizes of a filesystem that has grown. Slots are as long as they were.
    pub(crate) fn set_geometry(&mut self, geometry: Geometry) {
        self.geometry = geometry;
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Goes on after a transaction, if that is later than what the journal has.
    pub(crate) fn advance_to(&mut self, sequence: u64) {
        self.sequence = self.sequence.max(sequence);
    }

    /// The number of units that fit a slot.
    pub(crate) fn room(&self) -> usize {
        // Each has an address; these may not fill their last unit, and the header comes before.
        self.image.len().saturating_sub(2 * UNIT_SIZE) / (UNIT_SIZE + size_of::<u64>())
    }

    /// # Errors
    ///
    /// - `E2BIG` if so many units do not fit a slot.
    pub(crate) fn check_room(&self, count: usize) -> Result {
        if Transaction::size(count) > self.image.len() {
            return Err(E2BIG);
        }
        Ok(())
    }

    /// The first byte of the slot for a transaction.
    fn start(&self, copy: u64, sequence: u64) -> u64 {
        self.geometry.slot(copy, sequence % SLOTS) << BLOCK_SHIFT
    }

    /// Writes a change as the next transaction, and makes it durable.
    ///
    /// # Errors
    ///
    /// - `EIO` if that fails; then nothing may be changed any more.
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

        // One copy is enough: bad memory is what the other is for.
        if written == 0 {
            return Err(EIO);
        }

        volume.fence()?;
        self.sequence = sequence;
        Ok(())
    }

    /// Reads the transactions that may not be in place yet, the older one first, and goes on after
    /// the newer one.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn read(&mut self, volume: &Volume) -> Result<KVec<Logged>> {
        let mut units = KVec::new();
        let mut slots = [self.read_slot(volume, 0)?, self.read_slot(volume, 1)?];

        slots.sort_unstable_by_key(|slot| slot.as_ref().map_or(0, |slot| slot.0));

        let newest = slots.iter().flatten().map(|slot| slot.0).max().unwrap_or(0);

        for (sequence, image) in slots.iter().flatten() {
            // What is older has been in place since before the newest was written.
            if sequence.saturating_add(1) >= newest {
                add_units(*sequence, image, &mut units)?;
            }
        }
        self.sequence = newest;
        Ok(units)
    }

    /// Reads a slot from the copy that is whole and has the later transaction.
    fn read_slot(&mut self, volume: &Volume, slot: u64) -> Result<Option<(u64, KVVec<u8>)>> {
        let first = self.read_copy(volume, 0, slot)?;
        let second = self.read_copy(volume, 1, slot)?;
        let sequence = |copy: &Option<(u64, KVVec<u8>)>| copy.as_ref().map_or(0, |copy| copy.0);

        Ok(match sequence(&first) >= sequence(&second) {
            true => first,
            false => second,
        })
    }

    /// Reads a copy of a slot if it is whole.
    fn read_copy(
        &mut self,
        volume: &Volume,
        copy: u64,
        slot: u64,
    ) -> Result<Option<(u64, KVVec<u8>)>> {
        let start = self.start(copy, slot);
        let first = self.image.get_mut(..BLOCK_SIZE).ok_or(EINVAL)?;

        // What is bad behind the transaction does not matter.
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

/// Writes a copy of a transaction, unless memory that is known to be bad is in the way. Returns
/// whether that has succeeded.
fn write_copy(volume: &Volume, bad: &BadBlocks, start: u64, image: &[u8]) -> bool {
    let blocks = (start >> BLOCK_SHIFT..).zip(image.chunks(BLOCK_SIZE));
    let is_bad = blocks.clone().any(|(block, _)| bad.contains(block));

    !is_bad && (volume.write(start, image).is_ok() || repair_copy(volume, blocks).is_ok())
}

/// Writes blocks anew, over memory that nobody has told us is bad.
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

fn add_units(sequence: u64, image: &[u8], units: &mut KVec<Logged>) -> Result {
    let count = Transaction::count(image).map_or(0, |(count, _)| count);

    for index in 0..count {
        if let Some((address, unit)) = Transaction::unit(image, count, index) {
            units.push(
                Logged {
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
