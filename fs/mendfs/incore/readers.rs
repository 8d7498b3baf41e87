// SPDX-License-Identifier: GPL-2.0

//! Those who copy from blocks that files share.
//!
//! `read()` sleeps in the middle of a copy if the memory that it copies to is not there. It holds
//! the lock of the inode, which keeps truncation and the like away, but no page fault: that may
//! give the file a copy of its own. The block that `read()` goes on with belongs to others then,
//! who may write to it or give it up. So a reader registers before it copies. As long as it is
//! registered, the block counts as shared, so that others write elsewhere, and is not free.
//!
//! A reader registers while it reads the [`View`](super::view::View): nothing that it has seen can
//! change before. It goes by itself if somebody else owns the blocks. If not, it may be the last to
//! have them, and goes when it can free them: that is a change, and there is one of these at a
//! time, so that nothing is freed twice.

use core::ops::Range;

use daxmf::interval_tree::IntervalTree;
use kernel::{
    prelude::*,
    sync::{
        new_mutex,
        Arc,
        Mutex, //
    },
};

use crate::{
    blocks::common,
    incore::owners::for_each_gap, //
};

/// The blocks that are read, once for each reader.
#[pin_data]
pub(crate) struct Readers {
    #[pin]
    pub(crate) blocks: Mutex<IntervalTree<()>>,
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
    pub(crate) fn remove(&self, blocks: Range<u64>) {
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
