// SPDX-License-Identifier: GPL-2.0

//! Begins and ends reads that copy from blocks that files share.

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
        common,
        count, //
    },
    change::state::State,
    format::BLOCK_SHIFT,
    incore::{
        owners::Owner,
        view::View, //
    },
};

impl View {
    /// Finds the piece of a file that the first byte of `range` lies in. If it is shared,
    /// [`end_read()`](Self::end_read) must be called. `room` is for that.
    ///
    /// # Errors
    ///
    /// - `ESTALE` if there is no inode of this number.
    pub(crate) fn begin_read(
        &self,
        number: u64,
        range: ByteRange<space::File>,
        room: Vacant<()>,
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
        let file = common(&blocks(found.range), &blocks(range));

        found.range = bytes(file.clone())?;
        self.readers
            .blocks
            .lock()
            .insert(room, place(&file, start), ());
        Ok(found)
    }

    /// Ends a read of `range` of a file, which lies from byte `start` of the volume on. Returns
    /// false if nobody owns some of it any more: it goes on, and the [state](State::end_read) can
    /// end it.
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

    /// The part of `blocks` from its start on that is, or is not, shared by a piece with another,
    /// and whether it is. More may follow that is as well, see
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
    /// Ends a read, and gives up what nobody else has of the blocks.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short. Then they are given up by the next mount.
    pub(crate) fn end_read(&mut self, range: ByteRange<space::File>, start: u64) -> Result {
        let place = place(&blocks(range), start);

        self.view.readers.remove(place.clone());
        self.try_release(place)
    }
}

/// Where blocks of a file lie on the device: from byte `start` on.
fn place(file: &Range<u64>, start: u64) -> Range<u64> {
    let first = start >> BLOCK_SHIFT;

    first..first.saturating_add(count(file))
}
