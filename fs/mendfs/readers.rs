// SPDX-License-Identifier: GPL-2.0

//! Those who copy from blocks that files share.
//!
//! `read()` sleeps in the middle of a copy if the memory that it copies to is not there. It holds
//! the lock of the inode, which keeps truncation and the like away, but no page fault: that may
//! give the file a copy of its own. The block that `read()` goes on with belongs to others then,
//! who may write to it or give it up. So a reader registers before it copies. As long as it is
//! registered, the block counts as shared, so that others write elsewhere, and is not free.
//!
//! A reader registers while it reads the [`View`]: nothing that it has seen can change before. It
//! goes by itself if somebody else owns the blocks. If not, it may be the last to have them, and
//! goes when it can free them: that is a change, and there is one of these at a time, so that
//! nothing is freed twice.

use core::ops::Range;

use daxmf::{
    fs::{
        Mapping,
        Place, //
    },
    interval_tree::{
        IntervalTree,
        Vacant, //
    },
    range::{
        space,
        ByteRange, //
    },
};
use kernel::{
    prelude::*,
    sync::{
        new_mutex,
        Arc,
        Mutex, //
    },
};

use crate::{
    contents::{
        blocks,
        bytes,
        common,
        count, //
    },
    format::BLOCK_SHIFT,
    owners::{
        for_each_gap,
        Owner, //
    },
    state::State,
    view::View, //
};

/// The blocks that are read, once for each reader.
#[pin_data]
pub(crate) struct Readers {
    #[pin]
    blocks: Mutex<IntervalTree<()>>,
}

impl Readers {
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                blocks <- new_mutex!(IntervalTree::new()),
            }),
            GFP_KERNEL,
        )
    }

    /// The first of some blocks in a row that are read.
    pub(crate) fn first_in(&self, blocks: &Range<u64>) -> Option<Range<u64>> {
        let all = self.blocks.lock();
        let (read, ()) = all.overlaps(blocks.clone()).next()?;

        Some(common(&read, blocks))
    }

    /// Ends a read of exactly these blocks.
    fn remove(&self, blocks: Range<u64>) {
        let _ = self.blocks.lock().remove(blocks, &());
    }

    /// How many read some of `blocks`.
    pub(crate) fn count(&self, blocks: &Range<u64>) -> usize {
        self.blocks.lock().overlaps(blocks.clone()).count()
    }

    /// Calls `f` with each part of `blocks` that nobody reads.
    pub(crate) fn for_each_gap(&self, blocks: Range<u64>, f: impl FnMut(Range<u64>)) {
        for_each_gap(&self.blocks.lock(), blocks, f);
    }
}

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
    /// [`Owners::shared_run()`](crate::owners::Owners::shared_run).
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
        self.give_up(place)
    }
}

/// Where blocks of a file lie on the device: from byte `start` on.
fn place(file: &Range<u64>, start: u64) -> Range<u64> {
    let first = start >> BLOCK_SHIFT;

    first..first.saturating_add(count(file))
}
