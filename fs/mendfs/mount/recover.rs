// SPDX-License-Identifier: GPL-2.0

//! Reads the metadata, and recovers newer units from the journal.

use daxmf::{
    crc32c::crc32c,
    interval_tree::Vacant, //
};
use kernel::prelude::*;

use crate::{
    change::state::State,
    format::{
        Block,
        Chunk,
        Fault,
        Geometry,
        Superblock,
        BLOCK_SHIFT,
        COPIES,
        UNITS,
        UNIT_SIZE, //
    },
    store::journal::LoggedUnit, //
};

/// Reads the metadata into the state of a filesystem.
pub(super) struct Loader {
    pub(super) state: State,
    pub(super) superblock: Superblock,
    /// Units of the journal that may not be in place yet, the older transaction first.
    pub(super) units: KVec<LoggedUnit>,
    /// Copy 0 of the metadata block that is being read.
    pub(super) block: KBox<Block>,
    /// Copy 1 of the metadata block that is being read.
    pub(super) other: KBox<Block>,
}

impl Loader {
    pub(super) fn geometry(&self) -> Geometry {
        self.superblock.geometry
    }

    /// Reads the chunks one after the other, because each has the record of the next one.
    pub(super) fn read_chunks(&mut self) -> Result {
        let first = self.geometry().first_chunk();

        self.state
            .metadata
            .insert_chunk(&mut self.state.view, first, 0)?;
        self.read_blocks(&first)?;

        let mut last = first.number;

        while let Some(chunk) = self.state.metadata.next_chunk(&self.state.view, last)? {
            self.add_chunk(&chunk, last)?;
            self.read_blocks(&chunk)?;
            last = chunk.number;
        }

        // The recovered units must be durable in place before the next transaction overwrites the
        // older slot.
        match self.state.volume.is_read_only() {
            true => Ok(()),
            false => self.state.volume.fence(),
        }
    }

    fn add_chunk(&mut self, chunk: &Chunk, previous: u64) -> Result {
        let state = &mut self.state;

        // Only chunks are in the reverse map now.
        for blocks in chunk.blocks() {
            if state.view.owners.of(blocks).next().is_some() {
                return Err(state.view.report_damage(
                    self.superblock.geometry.link_address(previous),
                    "record of a chunk that overlaps another chunk",
                ));
            }
        }

        let vacant = [Vacant::new(GFP_KERNEL)?, Vacant::new(GFP_KERNEL)?];

        state
            .metadata
            .insert_chunk(&mut state.view, *chunk, previous)?;
        state.view.change().add_chunk_owners(chunk, vacant);
        Ok(())
    }

    fn read_blocks(&mut self, chunk: &Chunk) -> Result {
        for number in self.geometry().chunk_blocks(chunk.number) {
            let copies = [
                self.read_copy(chunk, number, 0)?,
                self.read_copy(chunk, number, 1)?,
            ];
            let newest = copies.iter().flatten().map(|copy| copy.sequence).max();

            let block = match (copies, newest) {
                ([Ok(first), _], Some(newest)) if first.sequence == newest => &self.block,
                ([_, Ok(_)], _) => &self.other,
                ([Ok(_), _], _) => &self.block,
                ([Err(fault), _], _) => {
                    let volume = &self.state.volume;

                    pr_err!("{volume}: metadata block {number}: both copies are bad: {fault}\n");
                    return Err(EUCLEAN);
                }
            };

            self.state
                .metadata
                .load(&mut self.state.view, number, block)?;
            self.state.metadata.advance_to(newest.unwrap_or(0));
            self.repair(chunk, number, copies, newest, block);
        }
        Ok(())
    }

    /// Reads a copy of a block, and applies the newer units of the journal to it. The inner result
    /// is the fault of a copy that is not intact then.
    fn read_copy(
        &mut self,
        chunk: &Chunk,
        number: u64,
        copy: u64,
    ) -> Result<Result<IntactCopy, Fault>> {
        let place = chunk.place(&self.superblock.geometry, copy, number);
        let block = match copy {
            0 => &mut *self.block,
            _ => &mut *self.other,
        };

        match self.state.volume.read(place << BLOCK_SHIFT, block) {
            Ok(()) => {}
            Err(EIO) => {
                self.state.note_failure(&(place..place.saturating_add(1)))?;
                return Ok(Err(Fault::Checksum));
            }
            Err(error) => return Err(error),
        }

        let open = |block: &Block| chunk.open(&self.superblock, number, block, crc32c);
        // An intact block has all transactions up to its sequence, so skip these. If one slot of
        // the journal is bad, the transaction in the other slot can be older than the block.
        let found = open(block).unwrap_or(0);

        for logged in &self.units {
            if logged.address / UNITS == number && logged.sequence > found {
                put_unit(block, logged);
            }
        }

        Ok(open(block).map(|sequence| IntactCopy { found, sequence }))
    }

    /// Writes `block` to the copies of a metadata block whose contents differ from it.
    fn repair(
        &self,
        chunk: &Chunk,
        number: u64,
        copies: [Result<IntactCopy, Fault>; 2],
        newest: Option<u64>,
        block: &Block,
    ) {
        if self.state.volume.is_read_only() {
            return;
        }

        // If both copies have the same sequence but not the same contents, `block` is copy 0.
        let are_same = copies.iter().any(Result::is_err) || *self.block == *self.other;

        let volume = &self.state.volume;

        for (copy, state) in (0..COPIES).zip(copies) {
            if let Err(fault) = state {
                pr_warn!("{volume}: metadata block {number}, copy {copy}: {fault}, repairing it\n");
            }

            let place = chunk.place(&self.superblock.geometry, copy, number);
            let is_right = are_same && state.ok().map(|state| state.found) == newest;

            // The repair work repairs bad copies later, because they can have failed just now.
            if is_right || self.state.metadata.bad.contains(place) {
                continue;
            }
            if let Err(error) = volume.repair(place << BLOCK_SHIFT, block) {
                pr_warn!(
                    "{volume}: metadata block {number}, copy {copy}: cannot be repaired: {error:?}\n"
                );
            }
        }
    }
}

/// An intact copy of a block.
#[derive(Clone, Copy)]
struct IntactCopy {
    /// The sequence of the block on the media; 0 if the block was not intact there.
    found: u64,
    /// The sequence after the units of the journal were applied.
    sequence: u64,
}

/// Writes a unit of the journal to its block.
fn put_unit(block: &mut Block, logged: &LoggedUnit) {
    // CAST: A block has 64 units.
    let at = (logged.address % UNITS) as usize * UNIT_SIZE;

    if let Some(bytes) = block.get_mut(at..) {
        for (to, from) in bytes.iter_mut().zip(&logged.unit) {
            *to = *from;
        }
    }
}
