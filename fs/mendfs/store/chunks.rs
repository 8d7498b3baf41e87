// SPDX-License-Identifier: GPL-2.0

//! Adds and removes chunks of the metadata.

use core::mem;

use daxmf::single_writer::Writer;
use kernel::{
    alloc::KVVec,
    prelude::*, //
};

use crate::{
    damage::report_damage,
    format::{
        Block,
        Chunk,
        Record,
        BLOCK_SHIFT,
        BLOCK_SIZE,
        CHUNK_BLOCKS,
        COPIES,
        MAX_METADATA,
        UNITS,
        UNIT_SIZE, //
    },
    incore::{
        table::Unit,
        view::View, //
    },
    store::{
        cached::CachedChunk,
        metadata::{
            cache_block,
            Metadata, //
        },
    },
};

/// Number of units for records in a chunk other than chunk 0.
const CHUNK_UNITS: u64 = CHUNK_BLOCKS * (UNITS - 1) - 1;

/// Minimum number of free units that remain after a chunk was removed. With fewer, one of the next
/// files would need a new chunk.
const SPARE_UNITS: u64 = UNITS / 2;

impl Metadata {
    /// Number of units that the metadata gains if `blocks` free blocks become chunks.
    pub(crate) fn units_of_more(&self, blocks: u64) -> u64 {
        let chunks = self.chunks.len() as u64;
        let most = (MAX_METADATA / CHUNK_BLOCKS).saturating_sub(chunks);

        (blocks / (COPIES * CHUNK_BLOCKS))
            .min(most)
            .saturating_mul(CHUNK_UNITS)
    }

    /// Adds a chunk without records to the state in memory, after chunk `previous`.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn insert_chunk(
        &mut self,
        view: &mut Writer<View>,
        chunk: Chunk,
        previous: u64,
    ) -> Result {
        let number = chunk.number;
        let blocks = self.geometry().chunk_blocks(number);
        // CAST: The format limits the number.
        let count = blocks.end.saturating_sub(blocks.start) as usize;
        let mut slots = KVVec::with_capacity(count, GFP_KERNEL)?;
        let mut cached = CachedChunk {
            chunk,
            previous,
            next: None,
            used: KVVec::with_capacity(count, GFP_KERNEL)?,
            count: 0,
        };

        for block in blocks.clone() {
            slots.push(None, GFP_KERNEL)?;
            cached.used.push(self.reserved(block), GFP_KERNEL)?;
        }
        view.change().table.insert(number, slots)?;
        // CAST: The format limits the number.
        while self.chunks.len() <= number as usize {
            self.chunks.push(None, GFP_KERNEL)?;
        }
        if number != 0 {
            cached.next = self.chunk(previous).and_then(|previous| previous.next);
            if let Some(next) = cached.next.and_then(|next| self.chunk_mut(next)) {
                next.previous = number;
            }
            if let Some(previous) = self.chunk_mut(previous) {
                previous.next = Some(number);
            }
            self.empty = self.empty.saturating_add(1);
        }
        self.units = self.units.saturating_add(cached.units());
        self.free = self.free.saturating_add(cached.units());
        if let Some(slot) = self.chunks.get_mut(number as usize) {
            *slot = Some(cached);
        }
        while self.chunk(self.vacant).is_some() {
            self.vacant = self.vacant.saturating_add(1);
        }
        self.lower_hints(blocks.start);
        Ok(())
    }

    /// Removes a chunk without records from the state in memory.
    fn drop_chunk(&mut self, view: &mut Writer<View>, number: u64) {
        // CAST: The format limits the number.
        let slot = self.chunks.get_mut(number as usize);
        let Some(cached) = slot.and_then(Option::take) else {
            return;
        };

        if let Some(previous) = self.chunk_mut(cached.previous) {
            previous.next = cached.next;
        }
        if let Some(next) = cached.next.and_then(|next| self.chunk_mut(next)) {
            next.previous = cached.previous;
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

    /// Reads the record of the next chunk from the last unit of chunk `number`. Returns [`None`] if
    /// there is no later chunk.
    ///
    /// # Errors
    ///
    /// - `EUCLEAN` if the record is damaged.
    pub(crate) fn next_chunk(&self, view: &View, number: u64) -> Result<Option<Chunk>> {
        let link = self.geometry().link_address(number);
        let Some(block) = view.table.block(link / UNITS) else {
            return Ok(None);
        };
        let unit = block.last_chunk().ok_or(EUCLEAN)?;

        self.geometry()
            .next_chunk(number, unit)
            .map_err(|fault| report_damage(&self.volume, link, fault))
    }

    /// The number for a new chunk; [`None`] if no more chunks fit. The previous number always has a
    /// chunk.
    pub(crate) fn vacant_chunk(&self) -> Option<u64> {
        Some(self.vacant).filter(|number| self.geometry().is_valid_chunk(*number))
    }

    /// Adds a chunk, whose number is [vacant](Self::vacant_chunk), on the media and in memory. A
    /// change that is planned already stays planned. After an error the chunk does not exist,
    /// unless the filesystem is shut down.
    ///
    /// # Errors
    ///
    /// - `EIO` if a block of the chunk is bad, or the filesystem is shut down.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn add_chunk(&mut self, view: &mut Writer<View>, chunk: Chunk) -> Result {
        let previous = chunk.number.checked_sub(1).ok_or(EINVAL)?;
        let next = self.chunk(previous).and_then(|previous| previous.next);
        let next = next.and_then(|next| Some(self.chunk(next)?.chunk));

        // The blocks of the chunk must be durable before its record is.
        self.write_chunk(&chunk, next)?;
        self.volume.fence()?;
        self.insert_chunk(view, chunk, previous)?;
        self.cache_link(view, &chunk, next)
            .and_then(|()| self.link(view, previous, Some(chunk)))
            .inspect_err(|_| self.drop_chunk(view, chunk.number))
    }

    /// Writes both copies of the blocks of a new chunk. The only record in it is that of the next
    /// chunk.
    fn write_chunk(&self, chunk: &Chunk, next: Option<Chunk>) -> Result {
        let link = self.geometry().link_address(chunk.number);

        for number in self.geometry().chunk_blocks(chunk.number) {
            let mut block: KBox<Block> = KBox::new([0; BLOCK_SIZE], GFP_KERNEL)?;

            if let (Some(unit), true) = (block.last_chunk_mut(), link / UNITS == number) {
                *unit = link_unit(next);
            }
            self.seal_block(chunk, number, &mut block);
            for copy in 0..COPIES {
                let start = chunk.place(self.geometry(), copy, number) << BLOCK_SHIFT;

                self.write_whole(start, &block)?;
            }
        }
        Ok(())
    }

    /// Caches the last block of a new chunk, if it has the record of the next chunk.
    fn cache_link(
        &mut self,
        view: &mut Writer<View>,
        chunk: &Chunk,
        next: Option<Chunk>,
    ) -> Result {
        if next.is_none() {
            return Ok(());
        }

        let number = self.geometry().link_address(chunk.number) / UNITS;
        let mut block: KBox<Block> = KBox::new([0; BLOCK_SIZE], GFP_KERNEL)?;

        if let Some(unit) = block.last_chunk_mut() {
            *unit = link_unit(next);
        }
        self.seal_block(chunk, number, &mut block);
        self.load(view, number, &block)
    }

    /// Writes the last unit of chunk `number`, the record of the next chunk, in a separate
    /// transaction.
    pub(super) fn link(
        &mut self,
        view: &mut Writer<View>,
        number: u64,
        next: Option<Chunk>,
    ) -> Result {
        let address = self.geometry().link_address(number);

        cache_block(view, address / UNITS)?;

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

    /// A chunk that can be removed: it has no records, and the other chunks keep enough free units.
    /// A chunk with bad blocks stays until they are repaired.
    pub(crate) fn empty_chunk(&self) -> Option<Chunk> {
        if self.empty == 0 || self.free < CHUNK_UNITS + SPARE_UNITS {
            return None;
        }
        self.chunks
            .iter()
            .flatten()
            .rev()
            .filter(|cached| cached.count == 0 && cached.chunk.number != 0)
            .map(|cached| cached.chunk)
            .find(|chunk| {
                chunk
                    .blocks()
                    .iter()
                    .all(|it| self.bad.count_ranges(it) == 0)
            })
    }

    /// Removes a chunk without records, in a separate transaction. When the transaction is durable,
    /// recovery does not write to the blocks of the chunk, because recovery ignores units outside
    /// of chunks. So the caller can free the blocks.
    ///
    /// # Errors
    ///
    /// - `EIO` if the journal cannot be written. Then the filesystem is shut down.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn remove_chunk(&mut self, view: &mut Writer<View>, number: u64) -> Result {
        let cached = self.chunk(number).ok_or(EINVAL)?;
        let previous = cached.previous;
        let next = cached.next.and_then(|next| Some(self.chunk(next)?.chunk));

        self.link(view, previous, next)?;
        self.drop_chunk(view, number);
        Ok(())
    }
}

/// The contents of the last unit of a chunk.
fn link_unit(next: Option<Chunk>) -> Unit {
    let mut unit = [0; UNIT_SIZE];

    if let Some(next) = next {
        Record::Chunk(next).write(0, &mut unit);
    }
    unit
}
