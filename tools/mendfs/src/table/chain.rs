// SPDX-License-Identifier: GPL-2.0

//! The chain of chunks: the last unit of each chunk contains the record of the next chunk. If a
//! record is not valid, the check searches the data for the chunk.

use std::collections::BTreeMap;

use crate::checksum;
use crate::format::{Chunk, Record, CHUNK_BLOCKS, COPIES, UNITS, UNIT_SIZE};
use crate::report::{place, Class, Report};

use super::Table;

impl Table<'_> {
    /// Returns the chunk after `chunk`. If its record is missing or wrong, searches for the chunk
    /// and rewrites the record.
    pub(super) fn find_next(&mut self, chunk: &Chunk, report: &mut Report) -> Option<Chunk> {
        let link = self.geometry().link_address(chunk.number);
        let is_gone = self.unrecoverable.contains(link / UNITS) || self.clear_link(link, report);

        let unit = *self
            .read(link / UNITS)
            .last_chunk()
            .unwrap_or(&[0; UNIT_SIZE]);
        let recorded = self.geometry().next_chunk(chunk.number, &unit);
        let why = match recorded {
            Ok(None) if is_gone => "is gone".into(),
            Ok(None) if self.found.is_none() => return None,
            Ok(None) => "is missing".into(),
            Ok(Some(next)) if self.skips_found_chunk(chunk, &next) => "skips a chunk".into(),
            Ok(Some(next)) if self.chunks.conflicts_with(&next) => "points to another chunk".into(),
            Ok(Some(next)) if !self.has_valid_block(&next) => "points to no chunk".into(),
            Ok(Some(next)) => return Some(next),
            Err(fault) => format!("is wrong ({fault})"),
        };
        let next = self.search(chunk.number);
        let found = match &next {
            Some(next) => format!(
                "metadata chunk {} is found at {:?}",
                next.number, next.copies
            ),
            None => "no chunk is found".into(),
        };
        let what = format!("the record of the next chunk {why}: {found}");

        match &next {
            Some(next) => {
                report.add(Class::Damage, place(link), what);
                self.write(link, 0, &Record::Chunk(*next));
            }
            // Possibly this was the last chunk, which has no such record.
            None if recorded == Ok(None) => {}
            None => {
                report.add(Class::Loss, place(link), what);
                self.free(link, 1);
            }
        }
        next
    }

    /// Frees a record that starts earlier and overlaps the last unit of a chunk. Returns whether
    /// there was one.
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
                let what = "it overlaps the record of the next chunk";

                report.add(Class::Loss, place(first + unit), what);
                self.free(first + unit, count);
                return true;
            }
            unit += count;
        }
        false
    }

    /// Makes a chunk whose copies start at these free blocks. Returns [`None`] if there are too
    /// many chunks.
    pub fn grow(&mut self, copies: [u64; COPIES as usize]) -> Option<()> {
        let number = (1..).find(|number| self.chunks.get(*number).is_none())?;
        let chunk = Chunk { number, copies };

        if !self.geometry().is_valid_chunk(number) {
            return None;
        }

        let next = self.chunks.next(number).copied();

        self.new_blocks.extend(self.geometry().chunk_blocks(number));
        self.chunks.add(chunk);
        if let Some(next) = next {
            self.write(
                self.geometry().link_address(number),
                0,
                &Record::Chunk(next),
            );
        }
        self.write(
            self.geometry().link_address(number - 1),
            0,
            &Record::Chunk(chunk),
        );
        self.next = self.next.min(self.geometry().chunk_blocks(number).start);
        Some(())
    }

    /// Whether a chunk has a block with a good copy.
    fn has_valid_block(&self, chunk: &Chunk) -> bool {
        self.geometry()
            .chunk_blocks(chunk.number)
            .any(|number| self.choose(chunk, number).block.is_some())
    }

    /// Whether the search has found a chunk between `chunk` and `next`, its recorded successor.
    fn skips_found_chunk(&self, chunk: &Chunk, next: &Chunk) -> bool {
        self.found.as_ref().is_some_and(|found| {
            found
                .range(chunk.number + 1..next.number)
                .any(|(_, (_, found))| !self.chunks.conflicts_with(found))
        })
    }

    /// Searches all data for the first chunk after chunk `number`. A block of a file is never taken
    /// for metadata, because blocks are zeroed or written before they are allocated to a file, and
    /// users do not know the secret. The search can also find a chunk that is no longer in use. It
    /// has no records, and all its units are free.
    fn search(&mut self, number: u64) -> Option<Chunk> {
        if self.found.is_none() {
            self.found = Some(self.search_all());
        }

        let found = self.found.iter().flatten();
        let mut found = found.map(|(_, (_, chunk))| *chunk);

        found.find(|chunk| chunk.number > number && !self.chunks.conflicts_with(chunk))
    }

    fn search_all(&self) -> BTreeMap<u64, (u64, Chunk)> {
        let geometry = self.geometry();
        let data = geometry.data();
        let mut found: BTreeMap<u64, (u64, Chunk)> = BTreeMap::new();

        for start in (data.start..data.end).step_by(CHUNK_BLOCKS as usize) {
            let Ok(block) = self.media.read_block(start) else {
                continue;
            };
            let chunk = Chunk::from_header(geometry, &block);
            let first = geometry.chunk_blocks(chunk.number).start;
            let is_valid = chunk.is_sane()
                && geometry.is_valid_chunk(chunk.number)
                && chunk.copies.contains(&start)
                && chunk.blocks().iter().all(|copy| copy.end <= data.end)
                && chunk
                    .open(&self.superblock, first, &block, checksum)
                    .is_ok();

            // Of several chunks with the same number, the one with the newest transaction is in
            // use.
            if let Some(sequence) = is_valid.then(|| self.sequence_of(&chunk)).flatten() {
                let best = found.entry(chunk.number).or_insert((sequence, chunk));

                if best.0 < sequence {
                    *best = (sequence, chunk);
                }
            }
        }
        found
    }

    /// The last transaction that changed a chunk. [`None`] if a copy can be read but is invalid,
    /// because its block was allocated to a file after the chunk was freed.
    fn sequence_of(&self, chunk: &Chunk) -> Option<u64> {
        let mut newest = 0;

        for number in self.geometry().chunk_blocks(chunk.number) {
            let choice = self.choose(chunk, number);

            if choice.has_invalid_copy {
                return None;
            }
            newest = newest.max(choice.sequence);
        }
        Some(newest)
    }
}
