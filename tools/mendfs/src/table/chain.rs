// SPDX-License-Identifier: GPL-2.0

//! The chain of chunks: the last unit of each has the record of the next one. A chunk whose record
//! is lost is searched for.

use std::collections::BTreeMap;

use crate::checksum;
use crate::format::{Chunk, Record, CHUNK_BLOCKS, COPIES, UNITS, UNIT_SIZE};
use crate::report::{place, Class, Report};

use super::Table;

impl Table<'_> {
    /// The chunk that follows another. If its record is lost or wrong, it is written anew.
    pub(super) fn find_next(&mut self, chunk: &Chunk, report: &mut Report) -> Option<Chunk> {
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
                report.add(Class::Damage, place(link), what);
                self.write(link, 0, &Record::Chunk(*next));
            }
            // There may have been none.
            None if recorded == Ok(None) => {}
            None => {
                report.add(Class::Loss, place(link), what);
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

                report.add(Class::Loss, place(first + unit), what);
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
}
