// SPDX-License-Identifier: GPL-2.0

//! The table of records, in memory and on the media.
//!
//! Each metadata block that holds a record is kept in memory as it is on the media. What is in
//! memory is what counts: the media is only read when the filesystem is mounted.

use core::ops::Range;

use daxmf::{
    crc32c::crc32c,
    fs::Volume, //
};
use kernel::{
    alloc::KVVec,
    fmt,
    prelude::*,
    sync::Arc, //
};

use crate::{
    bad::Bad,
    format::{
        Block,
        Fault,
        Geometry,
        Header,
        Magic,
        Record,
        Uuid,
        BLOCK_SHIFT,
        BLOCK_SIZE,
        COPIES,
        UNITS,
        UNIT_SIZE, //
    },
    journal::Journal,
};

/// Contents of a unit.
pub(crate) type Unit = [u8; UNIT_SIZE];

/// A block with its units that are not free, a bit for each.
struct Cached {
    /// In an allocation of its own, which is as long as what it holds.
    bytes: KBox<Block>,
    used: u64,
}

/// The bit of the header in [`Cached::used`].
const HEADER: u64 = 1;

impl Cached {
    /// Takes a block as it is on the media, whose header has been checked.
    fn new(bytes: &Block) -> Result<Self> {
        let mut copy = KBox::new([0; BLOCK_SIZE], GFP_KERNEL)?;

        copy.copy_from_slice(bytes);
        Ok(Self {
            bytes: copy,
            used: HEADER,
        })
    }

    fn unit(&self, number: u64) -> &[u8] {
        self.bytes.get(offset(number)..).unwrap_or(&[])
    }
}

/// Where a unit is in its block, in bytes.
fn offset(unit: u64) -> usize {
    // CAST: A block has 64 units.
    (unit % UNITS) as usize * UNIT_SIZE
}

/// `len` units from unit `first` on, a bit for each.
fn mask(first: u64, len: u64) -> u64 {
    let units = match len {
        0..=63 => (1_u64 << len).wrapping_sub(1),
        _ => u64::MAX,
    };

    // CAST: The number of a unit in its block.
    units.wrapping_shl((first % UNITS) as u32)
}

/// The first of `len` units in a row that are free.
fn find_free(used: u64, len: u64) -> Option<u64> {
    let mut starts = !used;

    for distance in 1..len.min(UNITS) {
        // CAST: Less than 64.
        starts &= !used >> distance as u32;
        if starts == 0 {
            return None;
        }
    }
    // What was shifted in at the top are zeroes: no run reaches beyond the block.
    (starts != 0 && len < UNITS).then(|| starts.trailing_zeros().into())
}

/// Units that are a record, or are to be one.
#[derive(Clone, Copy)]
struct Run {
    address: u64,
    len: u64,
}

/// A change that is not on the media yet.
#[derive(Default)]
struct Change {
    units: KVec<(u64, Unit)>,
    added: KVec<Run>,
    freed: KVec<Run>,
}

/// The table of records.
///
/// It is changed in three steps: [`begin()`](Self::begin), any number of records added, replaced
/// and removed, [`commit()`](Self::commit). A change that is not committed is undone by the next
/// `begin()`.
pub(crate) struct Metadata {
    volume: Arc<Volume>,
    geometry: Geometry,
    uuid: Uuid,
    blocks: KVVec<Option<Cached>>,
    /// For each length of a record, the first block that may have room for it.
    hints: [u64; UNITS as usize],
    free: u64,
    change: Change,
    scratch: KVec<u8>,
    journal: Journal,
    /// Blocks of superblock, journal and metadata that are bad. They are not written until they are
    /// mended: after a machine check they are not even there for a while.
    pub(crate) bad: Bad,
}

impl Metadata {
    pub(crate) fn new(
        volume: Arc<Volume>,
        geometry: Geometry,
        uuid: Uuid,
        journal: Journal,
    ) -> Result<Self> {
        let mut blocks = KVVec::new();

        // CAST: The format limits the number.
        for _ in 0..geometry.metadata_blocks() {
            blocks.push(None, GFP_KERNEL)?;
        }

        Ok(Self {
            volume,
            uuid,
            blocks,
            hints: [0; UNITS as usize],
            free: geometry.metadata_blocks().saturating_mul(UNITS - 1),
            geometry,
            change: Change::default(),
            scratch: KVec::from_elem(0, BLOCK_SIZE, GFP_KERNEL)?,
            journal,
            bad: Bad::new(),
        })
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The transaction that was last committed.
    pub(crate) fn sequence(&self) -> u64 {
        self.journal.sequence()
    }

    /// Goes on after a transaction, if that is later than what the journal has.
    pub(crate) fn go_on_after(&mut self, sequence: u64) {
        self.journal.go_on_after(sequence);
    }

    /// # Errors
    ///
    /// - `EIO` if nothing can be changed any more.
    pub(crate) fn check(&self) -> Result {
        self.journal.check()
    }

    /// Lets nothing be changed or read any more.
    pub(crate) fn stop(&mut self, why: impl fmt::Display) {
        self.journal.stop(&self.volume, why);
    }

    /// Whether both copies of something that is written now and then are bad.
    pub(crate) fn has_lost_both(&self) -> bool {
        let [_, others @ ..] = self.geometry.copies();

        others
            .iter()
            .any(|copies| self.lost_both_of(copies).is_some())
    }

    /// The first block of a copy whose other copy is bad, too.
    pub(crate) fn lost_both(&self) -> Option<u64> {
        self.geometry
            .copies()
            .iter()
            .find_map(|copies| self.lost_both_of(copies))
    }

    fn lost_both_of(&self, [first, second]: &[Range<u64>; 2]) -> Option<u64> {
        let mut rest = first.clone();

        while let Some(bad) = self.bad.first_in(&rest) {
            let shift = |block: u64| {
                block
                    .saturating_sub(first.start)
                    .saturating_add(second.start)
            };

            if let Some(other) = self.bad.first_in(&(shift(bad.start)..shift(bad.end))) {
                return Some(other.start);
            }
            rest.start = bad.end;
        }
        None
    }

    /// The number of units that a change can have.
    pub(crate) fn room(&self) -> usize {
        self.journal.room()
    }

    /// Number of units that are free.
    pub(crate) fn free(&self) -> u64 {
        self.free
    }

    fn cached(&self, block: u64) -> Option<&Cached> {
        // CAST: The format limits the number.
        self.blocks.get(block as usize)?.as_ref()
    }

    fn cached_mut(&mut self, block: u64) -> Option<&mut Cached> {
        // CAST: The format limits the number.
        self.blocks.get_mut(block as usize)?.as_mut()
    }

    /// Takes a block that was read from the media. Its header has been checked; the records are
    /// checked for their lengths. A free unit must be zeroes: a block without a record is not kept,
    /// and a record that is added is not written with what lies around it.
    ///
    /// # Errors
    ///
    /// - `EUCLEAN` if a record is longer than the block, or a free unit is not zeroes.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn load(&mut self, number: u64, bytes: &Block) -> Result {
        let first = number.saturating_mul(UNITS);
        let mut used = HEADER;
        let mut unit = 1;

        while unit < UNITS {
            let rest = bytes.get(offset(unit)..).unwrap_or(&[]);
            let address = first.saturating_add(unit);
            let len = match Record::units(rest) {
                Ok(Some(len)) => len,
                Ok(None) if rest.first_chunk() == Some(&[0; UNIT_SIZE]) => 0,
                Ok(None) => {
                    let what = "a free unit that is not zeroes";

                    return Err(damaged(&self.volume, address, what));
                }
                Err(fault) => return Err(damaged(&self.volume, address, fault)),
            };

            used |= mask(unit, len);
            unit = unit.saturating_add(len.max(1));
        }

        if used != HEADER {
            let mut cached = Cached::new(bytes)?;

            cached.used = used;
            self.free = self
                .free
                .saturating_sub(u64::from(used.count_ones()).saturating_sub(1));
            if let Some(block) = self.blocks.get_mut(number as usize) {
                *block = Some(cached);
            }
        }
        Ok(())
    }

    /// Calls `f` with the address of each record, the inode that it belongs to, and the record.
    ///
    /// # Errors
    ///
    /// - `EUCLEAN` if a record is damaged.
    /// - What `f` returns.
    pub(crate) fn for_each(&self, mut f: impl FnMut(u64, u64, Record<'_>) -> Result) -> Result {
        for (number, cached) in self.blocks.iter().enumerate() {
            let Some(cached) = cached else {
                continue;
            };
            let mut unit = 1;

            while unit < UNITS {
                // CAST: A `usize` is a `u64`.
                let address = (number as u64).saturating_mul(UNITS).saturating_add(unit);

                match self.record_in(cached, unit, address)? {
                    None => unit = unit.saturating_add(1),
                    Some((len, inode, record)) => {
                        f(address, inode, record)?;
                        unit = unit.saturating_add(len);
                    }
                }
            }
        }
        Ok(())
    }

    fn record_in<'a>(
        &self,
        cached: &'a Cached,
        unit: u64,
        address: u64,
    ) -> Result<Option<(u64, u64, Record<'a>)>> {
        let bytes = cached.unit(unit);
        let describe = |fault: Fault| damaged(&self.volume, address, fault);

        let Some(len) = Record::units(bytes).map_err(describe)? else {
            return Ok(None);
        };
        // CAST: A record has less than 64 units.
        let bytes = bytes.get(..len as usize * UNIT_SIZE).unwrap_or(&[]);
        let (inode, record) = Record::read(bytes).map_err(describe)?;

        Ok(Some((len, inode, record)))
    }

    /// The record at an address.
    ///
    /// # Errors
    ///
    /// - `EUCLEAN` if there is none.
    pub(crate) fn record(&self, address: u64) -> Result<Record<'_>> {
        let cached = self.cached(address / UNITS).ok_or(EUCLEAN)?;
        let (_, _, record) = self
            .record_in(cached, address % UNITS, address)?
            .ok_or(EUCLEAN)?;

        Ok(record)
    }

    /// Begins a change. One that was begun and not committed is undone.
    ///
    /// # Errors
    ///
    /// - `EIO` if a change could not be written, so that no other may follow.
    pub(crate) fn begin(&mut self) -> Result {
        while let Some(run) = self.change.added.pop() {
            self.release(run);
        }
        self.change.units.clear();
        self.change.freed.clear();
        self.journal.check()
    }

    fn release(&mut self, run: Run) {
        let block = run.address / UNITS;

        if let Some(cached) = self.cached_mut(block) {
            cached.used &= !mask(run.address, run.len);
            self.free = self.free.saturating_add(run.len);
        }
        for hint in &mut self.hints {
            *hint = (*hint).min(block);
        }
    }

    /// Finds room for `len` units.
    fn allocate(&mut self, len: u64) -> Result<u64> {
        // CAST: A record has less than 64 units.
        let hint = self.hints.get_mut(len as usize).ok_or(ENOSPC)?;
        let mut number = *hint;

        while let Some(slot) = self.blocks.get_mut(number as usize) {
            let used = slot.as_ref().map_or(HEADER, |cached| cached.used);

            if let Some(unit) = find_free(used, len) {
                let cached = match slot {
                    Some(cached) => cached,
                    None => slot.insert(Cached::new(&[0; BLOCK_SIZE])?),
                };
                let address = number.saturating_mul(UNITS).saturating_add(unit);

                self.change.added.push(Run { address, len }, GFP_KERNEL)?;
                cached.used |= mask(unit, len);
                self.free = self.free.saturating_sub(len);
                *hint = number;
                return Ok(address);
            }
            number = number.saturating_add(1);
        }
        *hint = number;
        Err(ENOSPC)
    }

    /// Adds a record, which belongs to `inode`. Returns its address.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if there is no room.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn add(&mut self, inode: u64, record: &Record<'_>) -> Result<u64> {
        let address = self.allocate(record.unit_count())?;

        self.replace(address, inode, record)?;
        Ok(address)
    }

    /// Adds the record of an inode. Returns its number.
    ///
    /// # Errors
    ///
    /// - As [`add()`](Self::add).
    pub(crate) fn add_inode(&mut self, record: &Record<'_>) -> Result<u64> {
        let number = self.allocate(record.unit_count())?;

        self.replace(number, number, record)?;
        Ok(number)
    }

    /// Puts a record in the place of one that has the same length.
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
    pub(crate) fn remove(&mut self, address: u64) -> Result {
        let len = self.record(address)?.unit_count();

        for number in 0..len {
            let unit = (address.saturating_add(number), [0; UNIT_SIZE]);

            self.change.units.push(unit, GFP_KERNEL)?;
        }
        self.change.freed.push(Run { address, len }, GFP_KERNEL)?;
        Ok(())
    }

    /// Makes the change durable, all of it or nothing.
    ///
    /// # Errors
    ///
    /// - `EIO` if it cannot be written. Then nothing can be changed any more.
    /// - `E2BIG` if it is too large for the journal, and `ENOMEM` if memory is short. Then nothing
    ///   has happened.
    pub(crate) fn commit(&mut self) -> Result {
        if self.change.units.is_empty() {
            return Ok(());
        }

        let touched = self.touched()?;
        let count = self.change.units.len().saturating_add(touched.len());

        self.journal.check_room(count)?;
        self.change.units.reserve(touched.len(), GFP_KERNEL)?;

        self.apply();
        self.seal(&touched);
        self.journal
            .write(&self.volume, &self.bad, &self.change.units)?;
        self.write_in_place();

        self.change.units.clear();
        self.change.added.clear();
        while let Some(run) = self.change.freed.pop() {
            self.release(run);
        }
        Ok(())
    }

    /// The blocks that the change is in.
    fn touched(&self) -> Result<KVec<u64>> {
        let mut touched = KVec::with_capacity(8, GFP_KERNEL)?;

        for (address, _) in &self.change.units {
            let block = address / UNITS;

            if !touched.contains(&block) {
                touched.push(block, GFP_KERNEL)?;
            }
        }
        Ok(touched)
    }

    /// Changes the blocks in memory.
    fn apply(&mut self) {
        for (address, unit) in &self.change.units {
            // CAST: The format limits the number.
            let block = self.blocks.get_mut((address / UNITS) as usize);

            if let Some(Some(cached)) = block {
                if let Some(bytes) = cached.bytes.get_mut(offset(*address)..) {
                    for (to, from) in bytes.iter_mut().zip(unit) {
                        *to = *from;
                    }
                }
            }
        }
    }

    /// Writes the headers of the blocks anew, in memory, and adds them to the change.
    fn seal(&mut self, touched: &[u64]) {
        for block in touched {
            let header = Header {
                magic: Magic::Metadata,
                uuid: self.uuid,
                address: *block,
                sequence: self.journal.sequence().saturating_add(1),
            };
            // CAST: The format limits the number.
            let Some(Some(cached)) = self.blocks.get_mut(*block as usize) else {
                continue;
            };

            header.seal(&mut *cached.bytes, crc32c);

            if let Some(unit) = cached.bytes.first_chunk() {
                // There is room: `commit()` has reserved it.
                let _ = self
                    .change
                    .units
                    .push_within_capacity((block.saturating_mul(UNITS), *unit));
            }
        }
    }

    /// Writes the units of the change where they belong, in both copies. Memory that is bad and
    /// cannot be mended is put up with in one of them.
    fn write_in_place(&mut self) {
        let mut has_failed = false;

        for (address, unit) in &self.change.units {
            let written = (0..COPIES).filter(|copy| self.write_unit(*copy, *address, unit));

            has_failed |= written.count() == 0;
        }
        if has_failed {
            self.journal
                .stop(&self.volume, "metadata cannot be written");
        }
    }

    fn write_unit(&self, copy: u64, address: u64, unit: &Unit) -> bool {
        let block = self.geometry.metadata(copy, address / UNITS);
        // CAST: A `usize` is a `u64`.
        let start = (block << BLOCK_SHIFT).saturating_add(offset(address) as u64);

        // It is written as a whole when it is mended.
        if self.bad.contains(block) {
            return false;
        }
        self.volume.write(start, unit).is_ok() || self.mend(copy, address / UNITS).is_ok()
    }

    /// Writes a copy of a block anew, over bad memory.
    ///
    /// # Errors
    ///
    /// - `EIO` if the memory cannot be mended.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn mend(&self, copy: u64, number: u64) -> Result {
        match self.cached(number) {
            Some(cached) => self.write_copy(copy, number, &cached.bytes),
            None => self.mend_empty(copy, number),
        }
    }

    /// The same for a block without a record, which is not kept in memory.
    fn mend_empty(&self, copy: u64, number: u64) -> Result {
        let mut empty = KBox::new([0; BLOCK_SIZE], GFP_KERNEL)?;

        Header {
            magic: Magic::Metadata,
            uuid: self.uuid,
            address: number,
            sequence: self.journal.sequence(),
        }
        .seal(&mut *empty, crc32c);

        // The copies must be the same. If the other one is bad, too, there is nothing to lose.
        for other in (0..COPIES).filter(|other| *other != copy) {
            let _ = self.write_copy(other, number, &empty);
        }
        self.write_copy(copy, number, &empty)
    }

    fn write_copy(&self, copy: u64, number: u64, bytes: &Block) -> Result {
        let start = self.geometry.metadata(copy, number) << BLOCK_SHIFT;

        self.volume.mend(start, bytes)
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

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

/// Says that the record at an address is damaged.
pub(crate) fn damaged(volume: &Volume, address: u64, what: impl fmt::Display) -> Error {
    let (block, unit) = (address / UNITS, address % UNITS);

    pr_err!("{volume}: metadata block {block}, unit {unit}: {what}\n");
    EUCLEAN
}
