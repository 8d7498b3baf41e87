// SPDX-License-Identifier: GPL-2.0

//! Adds records, and lets the metadata grow and shrink by chunks.

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
    /// Plans a new record, which belongs to `inode`. Adds a chunk if no block has room for it.
    /// Returns the address of the record.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if the metadata cannot grow.
    /// - `EIO` if the filesystem is shut down.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn add(&mut self, inode: u64, record: &Record<'_>) -> Result<u64> {
        self.with_room(|metadata, view| metadata.add(view, inode, record))
    }

    /// Plans the record of a new inode. Returns the number of the inode.
    ///
    /// # Errors
    ///
    /// - As [`add()`](Self::add).
    pub(crate) fn add_inode(&mut self, record: &Record<'_>) -> Result<u64> {
        self.with_room(|metadata, view| metadata.add_inode(view, record))
    }

    /// Calls `add`. If there is no room, adds a chunk and calls `add` again.
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

    /// Adds a chunk of the metadata from free blocks, in a separate transaction. The plan of the
    /// current operation stays.
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
                // Some of the blocks are bad, and the filesystem was not notified of them. Try
                // other blocks.
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

    /// Frees the blocks of a chunk that could not be added, except blocks that cannot be written.
    /// Queues a repair of the blocks that cannot be written. Returns whether there are any.
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

    /// Notes that an allocated block is bad, and queues its repair.
    fn note_unwritable(&mut self, block: Range<u64>) -> Result {
        self.repairs.reserve(1)?;
        self.view.change().bad.add(&block, None)?;
        self.repairs.add(block);
        self.repair_work.schedule();
        Ok(())
    }

    /// Frees the chunks of the metadata that are not needed. Stops at an error, because the next
    /// operation tries again.
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
