// SPDX-License-Identifier: GPL-2.0

//! The table of records: what both copies of the metadata say together, and changes to it that are
//! in memory until they are written.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use crate::checksum;
use crate::chunks::Chunks;
use crate::format::{
    Block, Chunk, Fault, Geometry, Record, Superblock, BLOCK_SIZE, CHUNK_BLOCKS, COPIES, UNITS,
    UNIT_SIZE,
};
use crate::journal::Journal;
use crate::media::Media;
use crate::report::{Class, Report};

/// Numbers of blocks, as ranges.
#[derive(Default)]
struct Runs(Vec<Range<u64>>);

impl Runs {
    /// Adds a number, greater than all before.
    fn push(&mut self, number: u64) {
        match self.0.last_mut() {
            Some(run) if run.end == number => run.end += 1,
            _ => self.0.push(number..number + 1),
        }
    }

    fn contains(&self, number: u64) -> bool {
        let index = self.0.partition_point(|run| run.end <= number);

        self.0.get(index).is_some_and(|run| run.contains(&number))
    }

    fn len(&self) -> u64 {
        self.0.iter().map(|run| run.end - run.start).sum()
    }

    fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().cloned().flatten()
    }
}

/// What the copies of a block say.
struct Choice {
    /// The block; [`None`] if it is lost.
    block: Option<Box<Block>>,
    sequence: u64,
    /// What is wrong with each copy.
    faults: [Option<String>; COPIES as usize],
    /// Whether the journal has something that is not in place.
    is_behind: bool,
    /// Whether a copy can be read, and is not that of the block.
    is_something_else: bool,
}

/// The table of records.
pub struct Table<'a> {
    media: &'a dyn Media,
    superblock: Superblock,
    journal: Journal,
    chunks: Chunks,
    /// Chunks that were found without their records, by number, with the newest transaction in
    /// each.
    found: Option<BTreeMap<u64, (u64, Chunk)>>,
    /// Blocks with a copy that is not as it should be.
    stale: Runs,
    lost: Runs,
    /// Blocks of chunks that are new.
    made: Vec<u64>,
    changed: BTreeMap<u64, Box<Block>>,
    /// The newest transaction of all.
    sequence: u64,
    /// Where the search for free units goes on.
    next: u64,
}

/// What is to be written to repair a filesystem.
pub struct Repair {
    superblock: Superblock,
    journal: Journal,
    chunks: Chunks,
    stale: Runs,
    lost: Runs,
    made: Vec<u64>,
    changed: BTreeMap<u64, Box<Block>>,
    sequence: u64,
}

impl<'a> Table<'a> {
    /// Reads the journal, and compares the copies of all blocks.
    ///
    /// # Errors
    ///
    /// - A sentence if there is no block left.
    pub fn new(
        media: &'a dyn Media,
        superblock: Superblock,
        report: &mut Report,
    ) -> Result<Self, String> {
        let journal = Journal::read(media, &superblock, report);
        let mut table = Self {
            media,
            sequence: journal.sequence,
            chunks: Chunks::new(superblock.geometry),
            superblock,
            journal,
            found: None,
            stale: Runs::default(),
            lost: Runs::default(),
            made: Vec::new(),
            changed: BTreeMap::new(),
            next: 0,
        };

        table.compare(report);
        if table.lost.len() == table.chunks.block_count() {
            return Err("no metadata block can be read: nothing is left to repair".into());
        }
        Ok(table)
    }

    /// Compares the copies of all blocks, a chunk after the other.
    fn compare(&mut self, report: &mut Report) {
        let mut newest = 0;
        let mut next = Some(self.geometry().first_chunk());

        while let Some(chunk) = next {
            self.chunks.add(chunk);
            for number in self.geometry().chunk_blocks(chunk.number) {
                newest = newest.max(self.compare_block(&chunk, number, report));
            }
            next = self.find_next(&chunk, report);
        }

        if report.is_replayed {
            let what = format!("transaction {} is not in place yet", self.sequence);

            report.add(Class::Note, "journal", what);
        }
        if newest > self.sequence {
            let what = format!(
                "its last transaction is {}, that of the metadata {newest}",
                self.sequence
            );

            report.add(Class::Damage, "journal", what);
            self.journal.is_damaged = true;
            self.sequence = newest;
        }
    }

    /// Compares the copies of a block. Returns the transaction that has last changed it.
    fn compare_block(&mut self, chunk: &Chunk, number: u64, report: &mut Report) -> u64 {
        let choice = self.choose(chunk, number);

        if choice.block.is_none() {
            self.lost.push(number);
            report.add(
                Class::Loss,
                format!("metadata block {number}"),
                format!(
                    "both copies are bad ({}): the records in it are gone",
                    choice.faults[0].as_deref().unwrap_or_default()
                ),
            );
            return 0;
        }
        for (copy, fault) in choice.faults.iter().enumerate() {
            if let Some(fault) = fault {
                let place = format!("metadata block {number}, copy {copy}");

                report.add(Class::Damage, place, fault.clone());
            }
        }
        report.is_replayed |= choice.is_behind;
        if choice.is_behind || choice.faults.iter().any(Option::is_some) {
            self.stale.push(number);
        }
        choice.sequence
    }

    fn choose(&self, chunk: &Chunk, number: u64) -> Choice {
        choose(self.media, &self.superblock, &self.journal, chunk, number)
    }

    // Chunks
    // ---------------------------------------------------------------------------------------------

    /// The chunk that follows another. If its record is lost or wrong, it is written anew.
    fn find_next(&mut self, chunk: &Chunk, report: &mut Report) -> Option<Chunk> {
        let link = self.geometry().link(chunk.number);
        let is_lost = self.lost.contains(link / UNITS) || self.clear_link(link, report);

        let unit = *self
            .read(link / UNITS)
            .last_chunk()
            .unwrap_or(&[0; UNIT_SIZE]);
        let recorded = self.geometry().next_chunk(chunk.number, &unit);
        let why = match recorded {
            Ok(None) if is_lost => "lost".into(),
            Ok(None) if self.found.is_none() => return None,
            Ok(None) => "not there".into(),
            Ok(Some(next)) if self.has_found_before(chunk, &next) => "of a later one".into(),
            Ok(Some(next)) if self.chunks.has_place_of(&next) => "of where another one is".into(),
            Ok(Some(next)) if !self.is_there(&next) => "of where none is".into(),
            Ok(Some(next)) => return Some(next),
            Err(fault) => format!("wrong ({fault})"),
        };
        let next = self.search(chunk.number);
        let found = match &next {
            Some(next) => format!(
                "metadata chunk {} is found at {:?}",
                next.number, next.copies
            ),
            None => "none is found".into(),
        };
        let what = format!("the record of the next chunk is {why}: {found}");

        match &next {
            Some(next) => {
                report.add(Class::Damage, place_of(link), what);
                self.write(link, 0, &Record::Chunk(*next));
            }
            // There may have been none.
            None if recorded == Ok(None) => {}
            None => {
                report.add(Class::Loss, place_of(link), what);
                self.free(link, 1);
            }
        }
        next
    }

    /// Frees what reaches into the last unit of a chunk from before. Returns whether something
    /// does.
    fn clear_link(&mut self, link: u64, report: &mut Report) -> bool {
        let block = self.read(link / UNITS);
        let first = link - link % UNITS;
        let mut unit = 1;

        while unit < link % UNITS {
            let count = match Record::units(&block[unit as usize * UNIT_SIZE..]) {
                Ok(Some(count)) => count,
                _ => 1,
            };

            if unit + count > link % UNITS {
                let what = "it reaches to where the record of the next chunk is";

                report.add(Class::Loss, place_of(first + unit), what);
                self.free(first + unit, count);
                return true;
            }
            unit += count;
        }
        false
    }

    /// Makes a chunk whose copies start at these blocks, which are free. [`None`] if there are too
    /// many.
    pub fn grow(&mut self, copies: [u64; COPIES as usize]) -> Option<()> {
        let number = (1..).find(|number| self.chunks.get(*number).is_none())?;
        let chunk = Chunk { number, copies };

        if !self.geometry().may_have(number) {
            return None;
        }

        let next = self.chunks.next(number).copied();

        self.made.extend(self.geometry().chunk_blocks(number));
        self.chunks.add(chunk);
        if let Some(next) = next {
            self.write(self.geometry().link(number), 0, &Record::Chunk(next));
        }
        self.write(self.geometry().link(number - 1), 0, &Record::Chunk(chunk));
        self.next = self.next.min(self.geometry().chunk_blocks(number).start);
        Some(())
    }

    /// Whether any block of a chunk is where it says.
    fn is_there(&self, chunk: &Chunk) -> bool {
        self.geometry()
            .chunk_blocks(chunk.number)
            .any(|number| self.choose(chunk, number).block.is_some())
    }

    /// Whether a chunk was found between two, of which the second one is recorded.
    fn has_found_before(&self, chunk: &Chunk, next: &Chunk) -> bool {
        self.found.as_ref().is_some_and(|found| {
            found
                .range(chunk.number + 1..next.number)
                .any(|(_, (_, found))| !self.chunks.has_place_of(found))
        })
    }

    /// The next chunk behind chunk `number`, without its record: all data is searched. A file has
    /// no block that is whole metadata, as all blocks are zeroed or written before a file gets
    /// them, and nobody knows the secret. One that is not in use any more may be found, too: it is
    /// without records, and all of it is free.
    fn search(&mut self, number: u64) -> Option<Chunk> {
        if self.found.is_none() {
            self.found = Some(self.search_all());
        }

        let found = self.found.iter().flatten();
        let mut found = found.map(|(_, (_, chunk))| *chunk);

        found.find(|chunk| chunk.number > number && !self.chunks.has_place_of(chunk))
    }

    fn search_all(&self) -> BTreeMap<u64, (u64, Chunk)> {
        let geometry = self.geometry();
        let data = geometry.data();
        let mut found: BTreeMap<u64, (u64, Chunk)> = BTreeMap::new();

        for start in (data.start..data.end).step_by(CHUNK_BLOCKS as usize) {
            let Ok(block) = self.media.read_block(start) else {
                continue;
            };
            let chunk = Chunk::claimed(geometry, &block);
            let first = geometry.chunk_blocks(chunk.number).start;
            let is_one = chunk.is_sane()
                && geometry.may_have(chunk.number)
                && chunk.copies.contains(&start)
                && chunk.blocks().iter().all(|copy| copy.end <= data.end)
                && chunk
                    .open(&self.superblock, first, &block, checksum)
                    .is_ok();

            // The one that was used last is the one that is in use.
            if let Some(sequence) = is_one.then(|| self.sequence_of(&chunk)).flatten() {
                let best = found.entry(chunk.number).or_insert((sequence, chunk));

                if best.0 < sequence {
                    *best = (sequence, chunk);
                }
            }
        }
        found
    }

    /// The transaction that has last changed a chunk. [`None`] if a block can be read and is none
    /// of its own: a part of it was given to a file.
    fn sequence_of(&self, chunk: &Chunk) -> Option<u64> {
        let mut newest = 0;

        for number in self.geometry().chunk_blocks(chunk.number) {
            let choice = self.choose(chunk, number);

            if choice.is_something_else {
                return None;
            }
            newest = newest.max(choice.sequence);
        }
        Some(newest)
    }

    // What it holds
    // ---------------------------------------------------------------------------------------------

    /// The superblock.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    fn geometry(&self) -> &Geometry {
        &self.superblock.geometry
    }

    /// The chunks.
    pub fn chunks(&self) -> &Chunks {
        &self.chunks
    }

    /// A block as it is to be.
    pub fn read(&self, number: u64) -> Box<Block> {
        if let Some(block) = self.changed.get(&number) {
            return block.clone();
        }

        let is_empty = self.lost.contains(number) || self.made.contains(&number);
        let chunk = self.chunks.of(number).filter(|_| !is_empty);

        chunk
            .and_then(|chunk| self.choose(chunk, number).block)
            .unwrap_or_else(|| Box::new([0; BLOCK_SIZE]))
    }

    /// Zeroes `count` units from `address` on.
    pub fn free(&mut self, address: u64, count: u64) {
        self.units(address, count).fill(0);
        self.next = self.next.min(address / UNITS);
    }

    /// Writes a record to `address`, where there is one of the same length or room for it.
    pub fn write(&mut self, address: u64, owner: u64, record: &Record<'_>) {
        record.write(owner, self.units(address, record.unit_count()));
    }

    /// Adds a record, which belongs to `owner`, or to itself if that is [`None`]. Returns its
    /// address, or [`None`] if there is no room.
    pub fn add(&mut self, owner: Option<u64>, record: &Record<'_>) -> Option<u64> {
        let count = record.unit_count();
        let numbers: Vec<u64> = self.chunks.blocks().filter(|n| *n >= self.next).collect();

        for number in numbers {
            self.next = number;
            if let Some(unit) = self.find_free(number, count) {
                let address = number * UNITS + unit;

                self.write(address, owner.unwrap_or(address), record);
                return Some(address);
            }
        }
        None
    }

    /// The first of `count` free units in a row of a block.
    fn find_free(&self, number: u64, count: u64) -> Option<u64> {
        let end = match self.chunks.is_link(number * UNITS + UNITS - 1) {
            true => UNITS - 1,
            false => UNITS,
        };

        find_free(&self.read(number), count).filter(|unit| unit + count <= end)
    }

    fn units(&mut self, address: u64, count: u64) -> &mut [u8] {
        let number = address / UNITS;

        let start = (address % UNITS) as usize * UNIT_SIZE;
        let read = self.read(number);
        let block = self.changed.entry(number).or_insert(read);

        &mut block[start..start + count as usize * UNIT_SIZE]
    }

    /// What is to be written.
    pub fn into_repair(self) -> Repair {
        Repair {
            superblock: self.superblock,
            journal: self.journal,
            chunks: self.chunks,
            stale: self.stale,
            lost: self.lost,
            made: self.made,
            changed: self.changed,
            sequence: self.sequence,
        }
    }
}

/// The first of `count` free units in a row.
fn find_free(block: &Block, count: u64) -> Option<u64> {
    let mut unit = 1;
    let mut free = 0;

    while unit < UNITS && free < count {
        let rest = &block[unit as usize * UNIT_SIZE..];

        match Record::units(rest) {
            Ok(None) => {
                free += 1;
                unit += 1;
            }
            Ok(Some(count)) => {
                free = 0;
                unit += count;
            }
            Err(_) => return None,
        }
    }
    (free == count).then(|| unit - count)
}

/// The place of a record, as people find it.
fn place_of(address: u64) -> String {
    crate::check::place(address)
}

fn choose(
    media: &dyn Media,
    superblock: &Superblock,
    journal: &Journal,
    chunk: &Chunk,
    number: u64,
) -> Choice {
    let mut best: Option<(u64, Box<Block>)> = None;
    let mut copies = [const { None }; COPIES as usize];
    let mut faults = [const { None }; COPIES as usize];
    let mut is_something_else = false;
    let raw = |copy: u64| media.read_block(chunk.place(&superblock.geometry, copy, number));

    for copy in 0..COPIES {
        let raw = raw(copy);
        let is_readable = raw.is_ok();

        match raw.map_err(|e| e.to_string()).and_then(|raw| {
            replayed(&raw, superblock, journal, chunk, number).map_err(|fault| fault.to_string())
        }) {
            Err(what) => {
                is_something_else |= is_readable;
                faults[copy as usize] = Some(what);
            }
            Ok((sequence, block)) => {
                if best.as_ref().is_none_or(|(best, _)| *best < sequence) {
                    best = Some((sequence, block.clone()));
                }
                copies[copy as usize] = Some(block);
            }
        }
    }

    let is_behind = |copy: u64| {
        raw(copy).is_ok_and(|raw| best.as_ref().is_some_and(|(_, block)| raw != *block))
    };
    let is_behind = journal.units.contains_key(&number) && (0..COPIES).any(is_behind);

    for (fault, copy) in faults.iter_mut().zip(&copies) {
        let best = best.as_ref().map(|(_, block)| block);

        if copy.is_some() && copy.as_ref() != best {
            *fault = Some("it is not what the other copy is".into());
        }
    }

    Choice {
        sequence: best.as_ref().map_or(0, |(sequence, _)| *sequence),
        block: best.map(|(_, block)| block),
        faults,
        is_behind,
        is_something_else,
    }
}

/// A copy of a block with what the journal has for it, and the transaction that has last changed
/// it.
fn replayed(
    raw: &Block,
    superblock: &Superblock,
    journal: &Journal,
    chunk: &Chunk,
    number: u64,
) -> Result<(u64, Box<Block>), Fault> {
    let open = |block: &Block| chunk.open(superblock, number, block, checksum);
    let mut block = Box::new(*raw);
    let mut sequence = open(raw);
    // What a whole block has been through it has in it.
    let has = sequence.unwrap_or(0);
    let units = journal.units.get(&number).into_iter().flatten();
    let mut is_changed = false;

    for logged in units.filter(|logged| logged.sequence > has) {
        let start = logged.unit as usize * UNIT_SIZE;

        block[start..start + UNIT_SIZE].copy_from_slice(&logged.bytes);
        is_changed = true;
    }
    if is_changed {
        sequence = open(&block);
    }
    Ok((sequence?, block))
}

impl Repair {
    /// Whether there is nothing to write but, perhaps, a superblock.
    fn is_empty(&self) -> bool {
        self.stale.0.is_empty()
            && self.lost.0.is_empty()
            && self.changed.is_empty()
            && !self.journal.is_damaged
    }

    /// Writes what is to be written. Whatever moment the machine stops at, what was there or what
    /// is to be there is found.
    ///
    /// # Errors
    ///
    /// - What the media fails with.
    pub fn write(&self, media: &mut dyn Media) -> io::Result<()> {
        if !self.is_empty() {
            self.mend(media)?;
            media.sync()?;
            Journal::retire(self.sequence, media, &self.superblock)?;
            self.change(media)?;
        }

        let image = crate::superblock::image(&self.superblock);

        for copy in 0..COPIES {
            let block = self.superblock.geometry.superblock(copy);

            if !media.read_block(block).is_ok_and(|bytes| bytes == image) {
                media.write(block, image.as_slice())?;
            }
        }
        media.sync()?;
        crate::superblock::clear_growth(media, &self.superblock)?;
        media.sync()
    }

    /// Makes the copies the same, with what the journal has.
    fn mend(&self, media: &mut dyn Media) -> io::Result<()> {
        for number in self.stale.iter() {
            let block = self.chunks.of(number).and_then(|chunk| {
                choose(media, &self.superblock, &self.journal, chunk, number).block
            });
            let Some(block) = block else {
                // Another copy has become bad meanwhile.
                return Err(io::Error::other(format!(
                    "metadata block {number} cannot be read any more"
                )));
            };

            self.write_block(media, number, &block)?;
        }
        for number in self.lost.iter().chain(self.made.iter().copied()) {
            let mut block = [0; BLOCK_SIZE];

            self.seal(number, 0, &mut block);
            self.write_block(media, number, &block)?;
        }
        Ok(())
    }

    /// Writes both copies of a block.
    fn write_block(&self, media: &mut dyn Media, number: u64, block: &Block) -> io::Result<()> {
        self.chunks
            .places(number)
            .try_for_each(|place| media.write(place, block))
    }

    fn seal(&self, number: u64, sequence: u64, block: &mut Block) {
        if let Some(chunk) = self.chunks.of(number) {
            chunk.seal(&self.superblock, number, sequence, block, checksum);
        }
    }

    /// Writes the changed blocks, one copy of all after the other.
    fn change(&self, media: &mut dyn Media) -> io::Result<()> {
        for copy in 0..COPIES as usize {
            for (number, block) in &self.changed {
                let mut block = block.clone();

                self.seal(*number, self.sequence + 1, &mut block);
                if let Some(place) = self.chunks.places(*number).nth(copy) {
                    media.write(place, block.as_slice())?;
                }
            }
            media.sync()?;
        }
        Ok(())
    }
}
