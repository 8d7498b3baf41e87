// SPDX-License-Identifier: GPL-2.0

//! The `read()` calls that copy from shared blocks.
//!
//! `read()` can sleep in the middle of a copy, in a page fault of the memory that it copies to. It
//! holds the lock of the inode, which excludes truncation and punching. But page faults of the file
//! do not take that lock: one of them can give the file its own copy of the block. Then `read()`
//! copies from a block that only other files own, and they can write to it or free it. So `read()`
//! registers as a reader of the block before it copies. A block with a reader counts as shared, so
//! that the other files write to a copy, and the filesystem does not free the block.
//!
//! A reader registers while it holds the lock of the [`View`](super::view::View), so that the
//! mapping that it has found cannot change earlier. If all blocks have an owner when the read ends,
//! the reader is removed under this lock alone. Otherwise the reader can be the last user of the
//! blocks, which must then be freed. Freeing blocks is a change, and changes exclude each other, so
//! no block is freed twice.

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
    blocks::intersection,
    incore::owners::for_each_gap, //
};

/// The blocks that are being read, once for each reader.
#[pin_data]
pub(crate) struct Readers {
    #[pin]
    pub(crate) blocks: Mutex<IntervalTree<()>>,
}

impl Readers {
    /// Creates the set without a reader.
    ///
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

    /// The first run of blocks in `blocks` that one reader reads.
    pub(crate) fn first_in(&self, blocks: &Range<u64>) -> Option<Range<u64>> {
        let all = self.blocks.lock();
        let (read, ()) = all.overlaps(blocks.clone()).next()?;

        Some(intersection(&read, blocks))
    }

    /// Removes a reader of exactly these blocks.
    pub(crate) fn remove(&self, blocks: Range<u64>) {
        let _ = self.blocks.lock().remove(blocks, &());
    }

    /// The number of readers of any part of `blocks`.
    pub(crate) fn count(&self, blocks: &Range<u64>) -> usize {
        self.blocks.lock().overlaps(blocks.clone()).count()
    }

    /// Calls `f` with each part of `blocks` without a reader.
    pub(crate) fn for_each_gap(&self, blocks: Range<u64>, f: impl FnMut(Range<u64>)) {
        for_each_gap(&self.blocks.lock(), blocks, f);
    }
}
