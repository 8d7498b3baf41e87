// SPDX-License-Identifier: GPL-2.0

//! The table of records: the metadata as read from both copies, with changes that stay in memory
//! until they are written.

mod chain;
mod copies;
pub mod repair;
mod runs;

use std::collections::BTreeMap;

use crate::chunks::Chunks;
use crate::format::{Block, Chunk, Geometry, Record, Superblock, BLOCK_SIZE, UNITS, UNIT_SIZE};
use crate::journal::Journal;
use crate::media::Media;
use crate::report::{Class, Report};

use copies::{choose, Choice};
use repair::Repair;
use runs::Runs;

/// The table of records.
pub struct Table<'a> {
    media: &'a dyn Media,
    superblock: Superblock,
    journal: Journal,
    chunks: Chunks,
    /// Chunks that a search of the data has found, by number, with the newest transaction in each.
    /// [`None`] until the data is searched.
    found: Option<BTreeMap<u64, (u64, Chunk)>>,
    /// Blocks with a copy that must be rewritten.
    stale: Runs,
    /// Blocks without a good copy.
    unrecoverable: Runs,
    /// Blocks of new chunks.
    new_blocks: Vec<u64>,
    changed: BTreeMap<u64, Box<Block>>,
    /// The newest transaction of the filesystem.
    sequence: u64,
    /// The metadata block at which the search for free units continues.
    next: u64,
}

impl<'a> Table<'a> {
    /// Reads the journal, and compares the copies of all blocks.
    ///
    /// # Errors
    ///
    /// - A message if no block has a good copy.
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
            unrecoverable: Runs::default(),
            new_blocks: Vec::new(),
            changed: BTreeMap::new(),
            next: 0,
        };

        table.compare(report);
        if table.unrecoverable.len() == table.chunks.block_count() {
            return Err("no metadata block has a good copy: it cannot be repaired".into());
        }
        Ok(table)
    }

    /// Compares the copies of all blocks, one chunk after the other.
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
            let what = format!(
                "transaction {} is not written to the metadata yet",
                self.sequence
            );

            report.add(Class::Note, "journal", what);
        }
        if newest > self.sequence {
            let what = format!(
                "its last transaction is {}, but the metadata has transaction {newest}",
                self.sequence
            );

            report.add(Class::Damage, "journal", what);
            self.journal.is_damaged = true;
            self.sequence = newest;
        }
    }

    /// Compares the copies of a block. Returns the last transaction that changed it.
    fn compare_block(&mut self, chunk: &Chunk, number: u64, report: &mut Report) -> u64 {
        let choice = self.choose(chunk, number);

        if choice.block.is_none() {
            self.unrecoverable.push(number);
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
        report.is_replayed |= choice.needs_replay;
        if choice.needs_replay || choice.faults.iter().any(Option::is_some) {
            self.stale.push(number);
        }
        choice.sequence
    }

    fn choose(&self, chunk: &Chunk, number: u64) -> Choice {
        choose(self.media, &self.superblock, &self.journal, chunk, number)
    }

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

    /// Returns a block with all changes and repairs.
    pub fn read(&self, number: u64) -> Box<Block> {
        if let Some(block) = self.changed.get(&number) {
            return block.clone();
        }

        let is_empty = self.unrecoverable.contains(number) || self.new_blocks.contains(&number);
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

    /// Writes a record to `address`, over a record of the same length or free units.
    pub fn write(&mut self, address: u64, owner: u64, record: &Record<'_>) {
        record.write(owner, self.units(address, record.unit_count()));
    }

    /// Adds a record that belongs to `owner`, or to itself if `owner` is [`None`]. Returns its
    /// address, or [`None`] if there are not enough free units.
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

    /// Returns the first of `count` consecutive free units in a block.
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

    /// Returns the repair, which is not written yet.
    pub fn into_repair(self) -> Repair {
        Repair {
            superblock: self.superblock,
            journal: self.journal,
            chunks: self.chunks,
            stale: self.stale,
            unrecoverable: self.unrecoverable,
            new_blocks: self.new_blocks,
            changed: self.changed,
            sequence: self.sequence,
        }
    }
}

/// Returns the first of `count` consecutive free units.
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
