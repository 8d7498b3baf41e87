// SPDX-License-Identifier: GPL-2.0

//! How chunks of the metadata are made and given back.

use core::mem;

use daxmf::single_writer::Writer;
use kernel::{
    alloc::KVVec,
    prelude::*, //
};

use crate::{
    damage::damaged,
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

/// Units for records in a chunk but the first.
const CHUNK_UNITS: u64 = CHUNK_BLOCKS * (UNITS - 1) - 1;

/// Free units that are left when a chunk is given back: with fewer, the next file would need it.
const SPARE_UNITS: u64 = UNITS / 2;

impl Metadata {
    /// Number of units that the metadata could grow by with so many blocks.
    pub(crate) fn units_of_more(&self, blocks: u64) -> u64 {
        let chunks = self.chunks.len() as u64;
        let most = (MAX_METADATA / CHUNK_BLOCKS).saturating_sub(chunks);

        (blocks / (COPIES * CHUNK_BLOCKS))
            .min(most)
            .saturating_mul(CHUNK_UNITS)
    }

    /// Adds a chunk, without what is in it, behind another one.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn insert_chunk(
        &mut self,
        view: &mut Writer<View>,
        chunk: Chunk,
        before: u64,
    ) -> Result {
        let number = chunk.number;
        let blocks = self.geometry().chunk_blocks(number);
        // CAST: The format limits the number.
        let count = blocks.end.saturating_sub(blocks.start) as usize;
        let mut slots = KVVec::with_capacity(count, GFP_KERNEL)?;
        let mut kept = CachedChunk {
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
        self.has_room_from(blocks.start);
        Ok(())
    }

    /// Forgets a chunk without a record.
    fn drop_chunk(&mut self, view: &mut Writer<View>, number: u64) {
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
        self.insert_chunk(view, chunk, before)?;
        self.cache_link(view, &chunk, next)
            .and_then(|()| self.link(view, before, Some(chunk)))
            .inspect_err(|_| self.drop_chunk(view, chunk.number))
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

                self.write_whole(start, &block)?;
            }
        }
        Ok(())
    }

    /// Keeps the last block of a new chunk in memory as it was written, if it has a record.
    fn cache_link(
        &mut self,
        view: &mut Writer<View>,
        chunk: &Chunk,
        next: Option<Chunk>,
    ) -> Result {
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
    pub(super) fn link(
        &mut self,
        view: &mut Writer<View>,
        number: u64,
        next: Option<Chunk>,
    ) -> Result {
        let address = self.geometry().link(number);

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

    /// A chunk that nobody needs: it has no record, and others have some room. One with bad memory
    /// is not given back before that was repaired.
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
        self.drop_chunk(view, number);
        Ok(())
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
