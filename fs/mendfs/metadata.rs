// SPDX-License-Identifier: GPL-2.0

//! Where a record fits the table of records, and how that changes on the media.

use core::{
    mem,
    ops::Range, //
};

use daxmf::{
    crc32c::crc32c,
    fs::{
        self,
        Volume, //
    },
    single_writer::Writer,
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
        Chunk,
        Fault,
        Geometry,
        Record,
        Superblock,
        BLOCK_SHIFT,
        BLOCK_SIZE,
        CHUNK_BLOCKS,
        COPIES,
        MAX_METADATA,
        UNITS,
        UNIT_SIZE, //
    },
    journal::Journal,
    table::{
        offset,
        units_from, //
    },
    view::View, //
};

/// Contents of a unit.
pub(crate) type Unit = [u8; UNIT_SIZE];

/// The bit of the header in [`Kept::used`].
const HEADER: u64 = 1;

/// The bit of the last unit, which in the last block of a chunk is the record of the next chunk.
const LINK: u64 = 1 << (UNITS - 1);

/// Units for records in a chunk but the first.
const CHUNK_UNITS: u64 = CHUNK_BLOCKS * (UNITS - 1) - 1;

/// Free units that are left when a chunk is given back: with fewer, the next file would need it.
const SPARE_UNITS: u64 = UNITS / 2;

/// Whether a block is what the media has. One without a record gets its header with its first one.
fn is_sealed(block: &Block) -> bool {
    block.first_chunk() != Some(&[0; UNIT_SIZE])
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

/// A chunk, with what is kept of it in memory.
struct Kept {
    chunk: Chunk,
    /// The chunk that has its record, and the one that it has the record of.
    before: u64,
    next: Option<u64>,
    /// For each block its units that are not free, a bit for each.
    used: KVVec<u64>,
    /// Number of units that records have, but those of chunks.
    count: u64,
}

impl Kept {
    /// Number of units for records.
    fn units(&self) -> u64 {
        // CAST: A `usize` is a `u64`.
        let blocks = self.used.len() as u64;

        blocks.saturating_mul(UNITS - 1).saturating_sub(1)
    }

    fn is_full(&self) -> bool {
        self.count == self.units()
    }
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
    /// Those units of records that go, as they were, that somebody may read as long as they are
    /// there.
    read: KVec<(u64, Unit)>,
    /// The blocks that it is in, once it is complete.
    touched: KVec<u64>,
}

/// What it takes to change the table of records.
///
/// It is changed in three steps: [`begin()`](Self::begin), any number of records added, replaced
/// and removed, [`commit()`](Self::commit). A change that is not committed is undone by the next
/// `begin()`.
pub(crate) struct Metadata {
    volume: Arc<Volume>,
    superblock: Superblock,
    /// By their numbers; the last one is there.
    chunks: KVVec<Option<Kept>>,
    /// The least number that no chunk has.
    vacant: u64,
    /// Number of chunks without a record, but the first.
    empty: u64,
    /// For each length of a record, the first block that may have room for it.
    hints: [u64; UNITS as usize],
    /// Number of units for records, and how many of them are free.
    units: u64,
    free: u64,
    change: Change,
    scratch: KVec<u8>,
    journal: Journal,
    /// Blocks of superblock, journal and metadata that are bad. They are not written until they are
    /// mended: after a machine check they are not even there for a while.
    pub(crate) bad: Bad,
}

impl Metadata {
    /// There is no chunk yet.
    pub(crate) fn new(
        volume: Arc<Volume>,
        superblock: Superblock,
        journal: Journal,
    ) -> Result<Self> {
        Ok(Self {
            volume,
            superblock,
            chunks: KVVec::new(),
            vacant: 0,
            empty: 0,
            hints: [0; UNITS as usize],
            units: 0,
            free: 0,
            change: Change::default(),
            scratch: KVec::from_elem(0, BLOCK_SIZE, GFP_KERNEL)?,
            journal,
            bad: Bad::new(),
        })
    }

    pub(crate) fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// Sets what the superblock is to be. The caller writes it, and has written what lies elsewhere
    /// by it.
    pub(crate) fn set_superblock(&mut self, superblock: Superblock) {
        self.superblock = superblock;
        self.journal.set_geometry(superblock.geometry);
        if let Some(first) = self.chunk_mut(0) {
            first.chunk = superblock.geometry.first_chunk();
        }
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.superblock.geometry
    }

    /// The transaction that was last committed.
    pub(crate) fn sequence(&self) -> u64 {
        self.journal.sequence()
    }

    /// Goes on after a transaction, if that is later than what the journal has.
    pub(crate) fn go_on_after(&mut self, sequence: u64) {
        self.journal.go_on_after(sequence);
    }

    /// Whether both copies of something at the ends of the device are bad that is written now and
    /// then.
    pub(crate) fn has_lost_both(&self) -> bool {
        let [_, others @ ..] = self.geometry().copies();

        others
            .iter()
            .any(|copies| self.lost_both_of(copies).is_some())
    }

    /// The first block at the ends of the device that is bad, and whose other copy is, too.
    pub(crate) fn lost_both(&self) -> Option<u64> {
        self.geometry()
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

    /// Number of units for records.
    pub(crate) fn units(&self) -> u64 {
        self.units
    }

    /// Number of units that are free.
    pub(crate) fn free(&self) -> u64 {
        self.free
    }

    /// Number of units that the metadata could grow by with so many blocks.
    pub(crate) fn units_of_more(&self, blocks: u64) -> u64 {
        let chunks = self.chunks.len() as u64;
        let most = (MAX_METADATA / CHUNK_BLOCKS).saturating_sub(chunks);

        (blocks / (COPIES * CHUNK_BLOCKS))
            .min(most)
            .saturating_mul(CHUNK_UNITS)
    }

    // Chunks
    // ---------------------------------------------------------------------------------------------

    fn chunk(&self, number: u64) -> Option<&Kept> {
        // CAST: The format limits the number.
        self.chunks.get(number as usize)?.as_ref()
    }

    fn chunk_mut(&mut self, number: u64) -> Option<&mut Kept> {
        // CAST: The format limits the number.
        self.chunks.get_mut(number as usize)?.as_mut()
    }

    /// Where a copy of a metadata block lies on the device. [`None`] if there is no such block.
    pub(crate) fn place(&self, copy: u64, number: u64) -> Option<u64> {
        let kept = self.chunk(self.geometry().chunk_of(number))?;

        Some(kept.chunk.place(self.geometry(), copy, number))
    }

    /// The number of the metadata block of a chunk, but the first, whose copy lies at a block of
    /// the device.
    pub(crate) fn block_at(&self, chunk: u64, copy: u64, block: u64) -> Option<u64> {
        let copies = self.chunk(chunk)?.chunk.blocks();
        let start = copies.get(copy as usize)?.start;
        let first = self.geometry().chunk_blocks(chunk).start;

        Some(first.saturating_add(block.checked_sub(start)?))
    }

    /// The address of the record of a chunk but the first.
    pub(crate) fn chunk_record(&self, number: u64) -> u64 {
        let before = self.chunk(number).map_or(0, |kept| kept.before);

        self.geometry().link(before)
    }

    /// Whether an address is that of the last unit of a chunk.
    pub(crate) fn is_link(&self, address: u64) -> bool {
        self.geometry()
            .link(self.geometry().chunk_of(address / UNITS))
            == address
    }

    /// The index of a block in its chunk.
    fn index(&self, block: u64) -> usize {
        let chunk = self.geometry().chunk_of(block);
        let first = self.geometry().chunk_blocks(chunk).start;

        // CAST: The format limits the number.
        block.saturating_sub(first) as usize
    }

    /// The units of a block that are not free, a bit for each.
    fn used_mut(&mut self, block: u64) -> Option<&mut u64> {
        let index = self.index(block);

        self.chunk_mut(self.geometry().chunk_of(block))?
            .used
            .get_mut(index)
    }

    /// The units of a block that no record of other kinds than a chunk's may have.
    fn reserved(&self, number: u64) -> u64 {
        match self.is_link(number.saturating_mul(UNITS).saturating_add(UNITS - 1)) {
            true => HEADER | LINK,
            false => HEADER,
        }
    }

    /// Adds a chunk, without what is in it, behind another one.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn insert(&mut self, view: &mut Writer<View>, chunk: Chunk, before: u64) -> Result {
        let number = chunk.number;
        let blocks = self.geometry().chunk_blocks(number);
        // CAST: The format limits the number.
        let count = blocks.end.saturating_sub(blocks.start) as usize;
        let mut slots = KVVec::with_capacity(count, GFP_KERNEL)?;
        let mut kept = Kept {
            chunk,
            before,
            next: None,
            used: KVVec::with_capacity(count, GFP_KERNEL)?,
            count: 0,
        };

        for block in blocks.clone() {
            slots.push(None, GFP_KERNEL)?;
            kept.used.push(self.reserved(block), GFP_KERNEL)?;
        }
        view.change().table.insert(number, slots)?;
        // CAST: The format limits the number.
        while self.chunks.len() <= number as usize {
            self.chunks.push(None, GFP_KERNEL)?;
        }
        if number != 0 {
            kept.next = self.chunk(before).and_then(|before| before.next);
            if let Some(next) = kept.next.and_then(|next| self.chunk_mut(next)) {
                next.before = number;
            }
            if let Some(before) = self.chunk_mut(before) {
                before.next = Some(number);
            }
            self.empty = self.empty.saturating_add(1);
        }
        self.units = self.units.saturating_add(kept.units());
        self.free = self.free.saturating_add(kept.units());
        if let Some(slot) = self.chunks.get_mut(number as usize) {
            *slot = Some(kept);
        }
        while self.chunk(self.vacant).is_some() {
            self.vacant = self.vacant.saturating_add(1);
        }
        for hint in &mut self.hints {
            *hint = (*hint).min(blocks.start);
        }
        Ok(())
    }

    /// Forgets a chunk without a record.
    fn forget(&mut self, view: &mut Writer<View>, number: u64) {
        // CAST: The format limits the number.
        let slot = self.chunks.get_mut(number as usize);
        let Some(kept) = slot.and_then(Option::take) else {
            return;
        };

        if let Some(before) = self.chunk_mut(kept.before) {
            before.next = kept.next;
        }
        if let Some(next) = kept.next.and_then(|next| self.chunk_mut(next)) {
            next.before = kept.before;
        }
        while let Some(None) = self.chunks.last() {
            self.chunks.pop();
        }
        view.change().table.remove(number);
        self.vacant = self.vacant.min(number);
        self.empty = self.empty.saturating_sub(1);
        self.units = self.units.saturating_sub(CHUNK_UNITS);
        self.free = self.free.saturating_sub(CHUNK_UNITS);
    }

    /// The chunk that follows another, as the media says.
    ///
    /// # Errors
    ///
    /// - `EUCLEAN` if it cannot be.
    pub(crate) fn next_chunk(&self, view: &View, number: u64) -> Result<Option<Chunk>> {
        let link = self.geometry().link(number);
        let Some(block) = view.table.block(link / UNITS) else {
            return Ok(None);
        };
        let unit = block.last_chunk().ok_or(EUCLEAN)?;

        self.geometry()
            .next_chunk(number, unit)
            .map_err(|fault| damaged(&self.volume, link, fault))
    }

    /// The number that a new chunk gets. The one before it is there.
    pub(crate) fn vacant_chunk(&self) -> Option<u64> {
        Some(self.vacant).filter(|number| self.geometry().may_have(*number))
    }

    /// Makes a chunk, whose number is [vacant](Self::vacant_chunk), while a change may be under
    /// way. If that fails there is none, unless nothing can be changed any more.
    ///
    /// # Errors
    ///
    /// - `EIO` if memory is bad, or nothing can be changed any more.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn add_chunk(&mut self, view: &mut Writer<View>, chunk: Chunk) -> Result {
        let before = chunk.number.checked_sub(1).ok_or(EINVAL)?;
        let next = self.chunk(before).and_then(|before| before.next);
        let next = next.and_then(|next| Some(self.chunk(next)?.chunk));

        // Where its record is durable, so are its blocks.
        self.write_chunk(&chunk, next)?;
        self.volume.fence()?;
        self.insert(view, chunk, before)?;
        self.keep_link(view, &chunk, next)
            .and_then(|()| self.link(view, before, Some(chunk)))
            .inspect_err(|_| self.forget(view, chunk.number))
    }

    /// Writes the blocks of a chunk, without a record but that of the next chunk.
    fn write_chunk(&self, chunk: &Chunk, next: Option<Chunk>) -> Result {
        let link = self.geometry().link(chunk.number);

        for number in self.geometry().chunk_blocks(chunk.number) {
            let mut block: KBox<Block> = KBox::new([0; BLOCK_SIZE], GFP_KERNEL)?;

            if let (Some(unit), true) = (block.last_chunk_mut(), link / UNITS == number) {
                *unit = link_unit(next);
            }
            self.seal_block(chunk, number, &mut block);
            for copy in 0..COPIES {
                let start = chunk.place(self.geometry(), copy, number) << BLOCK_SHIFT;

                self.volume
                    .write(start, &*block)
                    .or_else(|_| self.volume.mend(start, &block))?;
            }
        }
        Ok(())
    }

    /// Seals a block as it is after the last transaction.
    fn seal_block(&self, chunk: &Chunk, number: u64, block: &mut Block) {
        chunk.seal(
            &self.superblock,
            number,
            self.journal.sequence(),
            block,
            crc32c,
        );
    }

    /// Keeps the last block of a new chunk in memory as it was written, if it has a record.
    fn keep_link(&mut self, view: &mut Writer<View>, chunk: &Chunk, next: Option<Chunk>) -> Result {
        if next.is_none() {
            return Ok(());
        }

        let number = self.geometry().link(chunk.number) / UNITS;
        let mut block: KBox<Block> = KBox::new([0; BLOCK_SIZE], GFP_KERNEL)?;

        if let Some(unit) = block.last_chunk_mut() {
            *unit = link_unit(next);
        }
        self.seal_block(chunk, number, &mut block);
        self.load(view, number, &block)
    }

    /// Writes the record of the chunk that follows another, by a transaction of its own.
    fn link(&mut self, view: &mut Writer<View>, number: u64, next: Option<Chunk>) -> Result {
        let address = self.geometry().link(number);

        keep_block(view, address / UNITS)?;

        let pending = mem::take(&mut self.change);
        let result = self
            .change
            .units
            .push((address, link_unit(next)), GFP_KERNEL)
            .map_err(Error::from)
            .and_then(|()| self.commit(view, |_| {}));

        self.change = pending;
        result
    }

    /// A chunk that nobody needs: it has no record, and others have some room. One with bad memory
    /// is not given back before that was mended.
    pub(crate) fn empty_chunk(&self) -> Option<Chunk> {
        if self.empty == 0 || self.free < CHUNK_UNITS + SPARE_UNITS {
            return None;
        }
        self.chunks
            .iter()
            .flatten()
            .rev()
            .filter(|kept| kept.count == 0 && kept.chunk.number != 0)
            .map(|kept| kept.chunk)
            .find(|chunk| chunk.blocks().iter().all(|it| self.bad.count(it) == 0))
    }

    /// Gives a chunk without a record back, by a transaction of its own. When that is durable,
    /// nobody writes to its blocks any more: a recovery leaves out what is in no chunk.
    ///
    /// # Errors
    ///
    /// - `EIO` if nothing can be changed any more.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn remove_chunk(&mut self, view: &mut Writer<View>, number: u64) -> Result {
        let kept = self.chunk(number).ok_or(EINVAL)?;
        let before = kept.before;
        let next = kept.next.and_then(|next| Some(self.chunk(next)?.chunk));

        self.link(view, before, next)?;
        self.forget(view, number);
        Ok(())
    }

    // Records
    // ---------------------------------------------------------------------------------------------

    /// Takes a block that was read from the media. Its header has been checked; the records are
    /// checked for their lengths. A free unit must be zeroes: a block without a record is not kept,
    /// and a record that is added is not written with what lies around it.
    ///
    /// # Errors
    ///
    /// - `EUCLEAN` if a record is longer than the block, or a free unit is not zeroes.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn load(&mut self, view: &mut Writer<View>, number: u64, bytes: &Block) -> Result {
        let first = number.saturating_mul(UNITS);
        let reserved = self.reserved(number);
        let mut used = reserved;
        let mut unit = 1;
        // The record of the next chunk is checked when that is read.
        let end = match reserved & LINK {
            0 => UNITS,
            _ => UNITS - 1,
        };
        // CAST: A block has 64 units.
        let records = bytes.get(..end as usize * UNIT_SIZE).unwrap_or(&[]);

        while unit < end {
            let rest = records.get(offset(unit)..).unwrap_or(&[]);
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

        let has_link = end != UNITS && bytes.last_chunk() != Some(&[0; UNIT_SIZE]);

        if used != reserved || has_link {
            let mut copy = KBox::new([0; BLOCK_SIZE], GFP_KERNEL)?;

            copy.copy_from_slice(bytes);
            view.change().table.keep(number, copy);
            if let Some(old) = self.used_mut(number) {
                *old = used;
            }
            self.count_used(number, (used ^ reserved).count_ones().into(), true);
        }
        Ok(())
    }

    /// Counts units of a block that become used, or free.
    fn count_used(&mut self, block: u64, count: u64, is_used: bool) {
        let number = self.geometry().chunk_of(block);
        let Some(kept) = self.chunk_mut(number) else {
            return;
        };
        let was_empty = kept.count == 0;

        kept.count = match is_used {
            true => kept.count.saturating_add(count),
            false => kept.count.saturating_sub(count),
        };

        let is_empty = kept.count == 0;

        self.free = match is_used {
            true => self.free.saturating_sub(count),
            false => self.free.saturating_add(count),
        };
        match (was_empty, is_empty) {
            (true, false) if number != 0 => self.empty = self.empty.saturating_sub(1),
            (false, true) if number != 0 => self.empty = self.empty.saturating_add(1),
            _ => {}
        }
    }

    /// Begins a change. One that was begun and not committed is undone.
    pub(crate) fn begin(&mut self) {
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
        for hint in &mut self.hints {
            *hint = (*hint).min(block);
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
        if let Some(hint) = self.hints.get_mut(len as usize) {
            *hint = number;
        }

        let unit = found.ok_or(ENOSPC)?;
        let address = number.saturating_mul(UNITS).saturating_add(unit);

        self.change.added.reserve(1, GFP_KERNEL)?;
        keep_block(view, number)?;
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
        let end = address.saturating_add(len);

        for unit in address..end {
            self.change.units.push((unit, [0; UNIT_SIZE]), GFP_KERNEL)?;
        }
        if record.is_read() {
            let block = view.table.block(address / UNITS).ok_or(EUCLEAN)?;
            let units = units_from(block, address).as_chunks_of_units();

            for unit in (address..end).zip(units).map(|(at, unit)| (at, *unit)) {
                self.change.read.push(unit, GFP_KERNEL)?;
            }
        }
        self.change.freed.push(Run { address, len }, GFP_KERNEL)?;
        Ok(())
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
    fn seal(&mut self, view: &mut View) {
        view.table.put(&self.change.units);

        let superblock = self.superblock;
        let sequence = self.journal.sequence().saturating_add(1);
        let touched = mem::take(&mut self.change.touched);

        for block in &touched {
            let kept = self.chunk(self.geometry().chunk_of(*block));
            let (Some(Kept { chunk, .. }), Some(bytes)) = (kept, view.table.block_mut(*block))
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
    /// cannot be mended is put up with in one of them.
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

        // A block that is bad is written as a whole when it is mended.
        match bytes {
            Some(bytes) if !self.bad.contains(block) => {
                writer.write(start, bytes).is_ok() || self.mend(view, copy, number).is_ok()
            }
            _ => false,
        }
    }

    /// Writes a copy of a block anew, over bad memory.
    ///
    /// # Errors
    ///
    /// - `EIO` if the memory cannot be mended.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn mend(&self, view: &View, copy: u64, number: u64) -> Result {
        match view.table.block(number).filter(|block| is_sealed(block)) {
            Some(block) => self.write_copy(copy, number, block),
            None => self.mend_empty(copy, number),
        }
    }

    /// The same for a block without a record, which is not kept in memory, or is for a change that
    /// was not made.
    fn mend_empty(&self, copy: u64, number: u64) -> Result {
        let mut empty = KBox::new([0; BLOCK_SIZE], GFP_KERNEL)?;
        let chunk = self.geometry().chunk_of(number);

        if let Some(kept) = self.chunk(chunk) {
            self.seal_block(&kept.chunk, number, &mut empty);
        }
        // The copies must be the same. If the other one is bad, too, there is nothing to lose.
        for other in (0..COPIES).filter(|other| *other != copy) {
            let _ = self.write_copy(other, number, &empty);
        }
        self.write_copy(copy, number, &empty)
    }

    /// Writes the second copy of the first chunk to where it lies in a filesystem that has grown.
    ///
    /// # Errors
    ///
    /// - `EIO` if it cannot be written, or an empty block be read.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn write_second_copy(&self, view: &View, grown: &Geometry) -> Result {
        let chunk = grown.first_chunk();
        let mut empty: KBox<Block> = KBox::new([0; BLOCK_SIZE], GFP_KERNEL)?;

        for number in grown.chunk_blocks(chunk.number) {
            let start = chunk.place(grown, 1, number) << BLOCK_SHIFT;
            let bytes = match view.table.block(number).filter(|block| is_sealed(block)) {
                Some(block) => block,
                None => {
                    self.read_empty(number, &mut empty)?;
                    &*empty
                }
            };

            self.volume
                .write(start, bytes)
                .or_else(|_| self.volume.mend(start, bytes))?;
        }
        Ok(())
    }

    /// Reads a block of the first chunk that is not kept in memory, from a copy that is whole.
    fn read_empty(&self, number: u64, block: &mut Block) -> Result {
        let chunk = self.geometry().first_chunk();

        for copy in 0..COPIES {
            let place = chunk.place(self.geometry(), copy, number);
            let is_read =
                !self.bad.contains(place) && self.volume.read(place << BLOCK_SHIFT, block).is_ok();

            if is_read && chunk.open(&self.superblock, number, block, crc32c).is_ok() {
                return Ok(());
            }
        }
        Err(EIO)
    }

    fn write_copy(&self, copy: u64, number: u64, bytes: &Block) -> Result {
        let block = self.place(copy, number).ok_or(EINVAL)?;

        self.volume.mend(block << BLOCK_SHIFT, bytes)
    }
}

/// Keeps a block in memory, if need be without a record.
fn keep_block(view: &mut Writer<View>, number: u64) -> Result {
    if view.table.block(number).is_none() {
        let block = KBox::new([0; BLOCK_SIZE], GFP_KERNEL)?;

        view.change().table.keep(number, block);
    }
    Ok(())
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

/// The last unit of a chunk.
fn link_unit(next: Option<Chunk>) -> Unit {
    let mut unit = [0; UNIT_SIZE];

    if let Some(next) = next {
        Record::Chunk(next).write(0, &mut unit);
    }
    unit
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
