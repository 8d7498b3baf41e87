// SPDX-License-Identifier: GPL-2.0

//! Room for records: the metadata grows and shrinks.

use core::ops::Range;

use daxmf::{
    interval_tree::Vacant,
    single_writer::Writer, //
};
use kernel::prelude::*;

use crate::{
    blocks::bytes,
    change::state::State,
    format::{
        Chunk,
        Record, //
    },
    incore::view::View,
    store::metadata::Metadata, //
};

impl State {
    /// Adds a record, which belongs to `inode`. If there is no room, the metadata grows. Returns
    /// its address.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if the metadata cannot grow.
    /// - `EIO` if the filesystem is shut down.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn add(&mut self, inode: u64, record: &Record<'_>) -> Result<u64> {
        self.with_room(|metadata, view| metadata.add(view, inode, record))
    }

    /// The same for the record of an inode. Returns its number.
    ///
    /// # Errors
    ///
    /// - As [`add()`](Self::add).
    pub(crate) fn add_inode(&mut self, record: &Record<'_>) -> Result<u64> {
        self.with_room(|metadata, view| metadata.add_inode(view, record))
    }

    /// Calls `add`, and again with more metadata if there is no room.
    fn with_room(
        &mut self,
        add: impl Fn(&mut Metadata, &mut Writer<View>) -> Result<u64>,
    ) -> Result<u64> {
        match add(&mut self.metadata, &mut self.view) {
            Err(ENOSPC) => {
                self.grow()?;
                add(&mut self.metadata, &mut self.view)
            }
            result => result,
        }
    }

    /// Makes a chunk of the metadata from free blocks, by a transaction of its own. The operation
    /// that needs it goes on.
    fn grow(&mut self) -> Result {
        loop {
            let number = self.metadata.vacant_chunk().ok_or(ENOSPC)?;

            let vacant = [Vacant::new(GFP_KERNEL)?, Vacant::new(GFP_KERNEL)?];
            let copies = self.space.allocate_chunk()?;
            let chunk = Chunk { number, copies };
            let result = self.metadata.add_chunk(&mut self.view, chunk);

            match result {
                Ok(()) => {
                    self.view.change().add_chunk_owners(&chunk, vacant);
                    return Ok(());
                }
                // Nobody has told us that some of it is bad.
                Err(EIO) if self.view.check().is_ok() => match self.free_writable(&chunk)? {
                    true => {}
                    false => return Err(EIO),
                },
                Err(error) => {
                    chunk.blocks().map(|blocks| self.space.free(blocks));
                    return Err(error);
                }
            }
        }
    }

    /// Gives back the blocks of a chunk that was not made, but for those that cannot be written:
    /// they are to be repaired. Returns whether there are such.
    fn free_writable(&mut self, chunk: &Chunk) -> Result<bool> {
        let mut result = Ok(false);

        for block in chunk.blocks().into_iter().flatten() {
            let one = block..block.saturating_add(1);

            if self.volume.zero(bytes(one.clone())?).is_ok() {
                self.space.free(one);
                continue;
            }
            match self.note_unwritable(one.clone()) {
                Ok(()) => result = result.and(Ok(true)),
                Err(error) => {
                    self.space.free(one);
                    result = Err(error);
                }
            }
        }
        result
    }

    /// Notes that a block is bad that was taken.
    fn note_unwritable(&mut self, block: Range<u64>) -> Result {
        self.repairs.reserve(1)?;
        self.view.change().bad.add(&block, None)?;
        self.repairs.add(block);
        self.repair_work.schedule();
        Ok(())
    }

    /// Gives back the chunks of the metadata that nobody needs. What fails is tried again by the
    /// next operation.
    pub(crate) fn shrink(&mut self) {
        while let Some(chunk) = self.metadata.empty_chunk() {
            if self
                .metadata
                .remove_chunk(&mut self.view, chunk.number)
                .is_err()
            {
                return;
            }
            self.view.change().remove_chunk_owners(&chunk);
            for blocks in chunk.blocks() {
                self.space.free(blocks);
            }
        }
    }
}
