// SPDX-License-Identifier: GPL-2.0

//! Those who copy from blocks that files share.
//!
//! `read()` sleeps in the middle of a copy if the memory that it copies to is not there. It holds
//! the lock of the inode, which keeps truncation and the like away, but no page fault: that may
//! give the file a copy of its own. The block that `read()` goes on with belongs to others then,
//! who may write to it or give it up. So a reader owns it, too, until it is done: the reverse map
//! has it as an owner, for whom others make copies, and which keeps the block from being free.

use core::ops::Range;

use daxmf::{
    fs::{
        Mapping,
        Place, //
    },
    range::{
        space,
        ByteRange, //
    },
};
use kernel::prelude::*;

use crate::{
    contents::{
        blocks,
        bytes,
        common,
        count, //
    },
    format::BLOCK_SHIFT,
    owners::Owner,
    state::State, //
};

impl Owner {
    /// No inode has such a number: it is the address of a record.
    const READER: u64 = 1 << 63;

    fn reader(inode: u64, file: &Range<u64>) -> Self {
        Self {
            inode: inode | Self::READER,
            file_block: file.start,
        }
    }
}

impl State {
    /// Finds the piece of a file that the first byte of `range` lies in. If it is shared,
    /// [`end_read()`](Self::end_read) must be called.
    ///
    /// # Errors
    ///
    /// - `EIO` if the filesystem is shut down.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn begin_read(
        &mut self,
        number: u64,
        range: ByteRange<space::File>,
    ) -> Result<Mapping> {
        self.metadata.check()?;

        let mut found = self.find(number, range)?;
        let Place::Mapped {
            start,
            is_shared: true,
            ..
        } = found.place
        else {
            return Ok(found);
        };
        let file = common(&blocks(found.range), &blocks(range));

        found.range = bytes(file.clone())?;
        self.owners.reserve(1)?;
        self.owners
            .add(place(&file, start), Owner::reader(number, &file));
        Ok(found)
    }

    /// Ends a read, and gives up what nobody else has of the blocks.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short. Then they are given up by the next mount.
    pub(crate) fn end_read(
        &mut self,
        number: u64,
        range: ByteRange<space::File>,
        start: u64,
    ) -> Result {
        let file = blocks(range);
        let place = place(&file, start);

        self.owners
            .remove(place.clone(), Owner::reader(number, &file));
        self.give_up(place)
    }
}

/// Where blocks of a file lie on the device: from byte `start` on.
fn place(file: &Range<u64>, start: u64) -> Range<u64> {
    let first = start >> BLOCK_SHIFT;

    first..first.saturating_add(count(file))
}
