// SPDX-License-Identifier: GPL-2.0

//! The table of records: what both copies of the metadata say together, and changes to it that are
//! in memory until they are written.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use crate::checksum;
use crate::format::{
    Block, Header, Magic, Record, Superblock, BLOCK_SIZE, COPIES, UNITS, UNIT_SIZE,
};
use crate::journal::Journal;
use crate::make;
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
}

/// The table of records.
pub struct Table<'a> {
    media: &'a dyn Media,
    superblock: Superblock,
    journal: Journal,
    /// Blocks with a copy that is not as it should be.
    stale: Runs,
    lost: Runs,
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
    stale: Runs,
    lost: Runs,
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
            superblock,
            journal,
            stale: Runs::default(),
            lost: Runs::default(),
            changed: BTreeMap::new(),
            next: 0,
        };

        table.compare(report);
        if table.lost.len() == table.blocks() {
            return Err("no metadata block can be read: nothing is left to repair".into());
        }
        Ok(table)
    }

    fn compare(&mut self, report: &mut Report) {
        let mut newest = 0;

        for number in 0..self.blocks() {
            let choice = choose(self.media, &self.superblock, &self.journal, number);

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
                continue;
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
            newest = newest.max(choice.sequence);
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

    /// The superblock.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// Number of blocks.
    pub fn blocks(&self) -> u64 {
        self.superblock.geometry.metadata_blocks()
    }

    /// A block as it is to be.
    pub fn read(&self, number: u64) -> Box<Block> {
        if let Some(block) = self.changed.get(&number) {
            return block.clone();
        }
        if self.lost.contains(number) {
            return Box::new([0; BLOCK_SIZE]);
        }
        choose(self.media, &self.superblock, &self.journal, number)
            .block
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

        while self.next < self.blocks() {
            if let Some(unit) = find_free(&self.read(self.next), count) {
                let address = self.next * UNITS + unit;

                self.write(address, owner.unwrap_or(address), record);
                return Some(address);
            }
            self.next += 1;
        }
        None
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
            stale: self.stale,
            lost: self.lost,
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

fn choose(media: &dyn Media, superblock: &Superblock, journal: &Journal, number: u64) -> Choice {
    let mut best: Option<(Header, Box<Block>)> = None;
    let mut copies = [const { None }; COPIES as usize];
    let mut faults = [const { None }; COPIES as usize];

    for copy in 0..COPIES {
        let raw = media.read_block(superblock.geometry.metadata(copy, number));

        match raw
            .as_ref()
            .map_err(|e| e.to_string())
            .and_then(|raw| replayed(raw, superblock, journal, number))
        {
            Err(what) => faults[copy as usize] = Some(what),
            Ok((header, block)) => {
                if best
                    .as_ref()
                    .is_none_or(|(h, _)| h.sequence < header.sequence)
                {
                    best = Some((header, block.clone()));
                }
                copies[copy as usize] = Some(block);
            }
        }
    }

    let is_behind = |copy: u64| {
        media
            .read_block(superblock.geometry.metadata(copy, number))
            .is_ok_and(|raw| best.as_ref().is_some_and(|(_, block)| raw != *block))
    };
    let is_behind = journal.units.contains_key(&number) && (0..COPIES).any(is_behind);

    for (fault, copy) in faults.iter_mut().zip(&copies) {
        let best = best.as_ref().map(|(_, block)| block);

        if copy.is_some() && copy.as_ref() != best {
            *fault = Some("it is not what the other copy is".into());
        }
    }

    Choice {
        sequence: best.as_ref().map_or(0, |(header, _)| header.sequence),
        block: best.map(|(_, block)| block),
        faults,
        is_behind,
    }
}

/// A copy of a block with what the journal has for it.
fn replayed(
    raw: &Block,
    superblock: &Superblock,
    journal: &Journal,
    number: u64,
) -> Result<(Header, Box<Block>), String> {
    let open = |block: &Block| Header::open(block, Magic::Metadata, number, checksum);
    let mut block = Box::new(*raw);
    let mut header = open(raw);
    // What a whole block has been through it has in it.
    let has = header.as_ref().map_or(0, |header| header.sequence);
    let units = journal.units.get(&number).into_iter().flatten();
    let mut is_changed = false;

    for logged in units.filter(|logged| logged.sequence > has) {
        let start = logged.unit as usize * UNIT_SIZE;

        block[start..start + UNIT_SIZE].copy_from_slice(&logged.bytes);
        is_changed = true;
    }
    if is_changed {
        header = open(&block);
    }

    let header = header.map_err(|fault| fault.to_string())?;

    if header.uuid != superblock.uuid {
        return Err("it is of another filesystem".into());
    }
    Ok((header, block))
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
        media.sync()
    }

    /// Makes the copies the same, with what the journal has.
    fn mend(&self, media: &mut dyn Media) -> io::Result<()> {
        for number in self.stale.iter() {
            let Some(block) = choose(media, &self.superblock, &self.journal, number).block else {
                // Another copy has become bad meanwhile.
                return Err(io::Error::other(format!(
                    "metadata block {number} cannot be read any more"
                )));
            };

            for copy in 0..COPIES {
                media.write(self.superblock.geometry.metadata(copy, number), &*block)?;
            }
        }
        for number in self.lost.iter() {
            let mut block = [0; BLOCK_SIZE];

            make::seal(&mut block, &self.superblock, number, 0);
            for copy in 0..COPIES {
                media.write(self.superblock.geometry.metadata(copy, number), &block)?;
            }
        }
        Ok(())
    }

    /// Writes the changed blocks, one copy of all after the other.
    fn change(&self, media: &mut dyn Media) -> io::Result<()> {
        for copy in 0..COPIES {
            for (number, block) in &self.changed {
                let mut block = block.clone();

                make::seal(&mut block, &self.superblock, *number, self.sequence + 1);
                media.write(
                    self.superblock.geometry.metadata(copy, *number),
                    block.as_slice(),
                )?;
            }
            media.sync()?;
        }
        Ok(())
    }
}
