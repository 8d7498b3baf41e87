// SPDX-License-Identifier: GPL-2.0

//! Begins and ends reads that copy from shared blocks.

use core::ops::Range;

use daxmf::{
    fs::{
        Mapping,
        Place, //
    },
    interval_tree::Vacant,
    range::{
        space,
        ByteRange, //
    },
};
use kernel::prelude::*;

use crate::{
    blocks::{
        blocks,
        bytes,
        count,
        intersection, //
    },
    change::state::State,
    format::BLOCK_SHIFT,
    incore::{
        owners::Owner,
        view::View, //
    },
};

impl View {
    /// Finds the mapping of the first byte of `range`. If the place is shared, registers a reader
    /// of it with the memory `vacant`. Then the caller must call [`end_read()`](Self::end_read).
    ///
    /// # Errors
    ///
    /// - `ESTALE` if there is no inode of this number.
    pub(crate) fn begin_read(
        &self,
        number: u64,
        range: ByteRange<space::File>,
        vacant: Vacant<()>,
    ) -> Result<Mapping> {
        let mut found = self.find(number, range)?;
        let Place::Mapped {
            start,
            is_shared: true,
            ..
        } = found.place
        else {
            return Ok(found);
        };
        let file = intersection(&blocks(found.range), &blocks(range));

        found.range = bytes(file.clone())?;
        self.readers
            .blocks
            .lock()
            .insert(vacant, place(&file, start), ());
        Ok(found)
    }

    /// Removes the reader of `range` of a file, which lies from byte `start` of the volume on, if
    /// all its blocks have owners. Otherwise returns false, and the caller must end the read with
    /// [`State::end_read()`], which also frees blocks.
    pub(crate) fn end_read(&self, range: ByteRange<space::File>, start: u64) -> bool {
        let place = place(&blocks(range), start);
        let mut is_owned = true;

        self.owners
            .for_each_gap(place.clone(), |_| is_owned = false);
        if is_owned {
            self.readers.remove(place);
        }
        is_owned
    }

    /// A part of `blocks` from their start on, and whether the extent of `piece` shares it with
    /// other owners or readers. The blocks after a shared part can be shared, too, see
    /// [`Owners::shared_run()`](crate::incore::owners::Owners::shared_run).
    pub(crate) fn shared_run(&self, blocks: Range<u64>, piece: Owner) -> (Range<u64>, bool) {
        let (run, is_shared) = self.owners.shared_run(blocks, piece);

        if is_shared {
            return (run, true);
        }
        match self.readers.first_in(&run) {
            Some(read) if read.start == run.start => (read, true),
            Some(read) => (run.start..read.start, false),
            None => (run, false),
        }
    }
}

impl State {
    /// Removes the reader of `range` of a file, which lies from byte `start` of the volume on.
    /// Frees the blocks that have no owner and no other reader.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short. Then the blocks stay reserved until the next mount.
    pub(crate) fn end_read(&mut self, range: ByteRange<space::File>, start: u64) -> Result {
        let place = place(&blocks(range), start);

        self.view.readers.remove(place.clone());
        self.try_release(place)
    }
}

/// The blocks of the volume for blocks `file` of a file, which lie from byte `start` of the volume
/// on.
fn place(file: &Range<u64>, start: u64) -> Range<u64> {
    let first = start >> BLOCK_SHIFT;

    first..first.saturating_add(count(file))
}
