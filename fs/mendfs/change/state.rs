// SPDX-License-Identifier: GPL-2.0

//! The state for changes of a mounted filesystem.

use daxmf::{
    fs::{
        RepairWork,
        Volume, //
    },
    single_writer::Writer, //
};
use kernel::{
    prelude::*,
    rbtree::RBTree,
    sync::Arc,
    time::{
        Instant,
        Monotonic, //
    },
};

use crate::{
    format::Inode,
    incore::{
        free_space::FreeSpace,
        nodes::Place,
        repairs::RepairQueue,
        view::View, //
    },
    store::metadata::Metadata, //
};

/// The state for changes of a mounted filesystem, under one lock.
///
/// An operation has four steps:
///
/// 1. [`begin_change()`](Self::begin_change) undoes the plan of an operation that has failed.
/// 2. The operation plans: it adds and replaces records, allocates blocks, and reserves memory for
///    the last step.
/// 3. [`commit()`](Self::commit) makes the transaction durable.
/// 4. `commit()` publishes the change to readers. This step cannot fail.
///
/// Readers wait only for parts of the last two steps.
pub(crate) struct State {
    pub(crate) volume: Arc<Volume>,
    pub(crate) view: Writer<View>,
    pub(crate) metadata: Metadata,
    pub(crate) space: FreeSpace,
    /// Blocks that are reserved as the target of a copy. The key is the inode and the block of the
    /// file that is being copied.
    pub(crate) cow_blocks: RBTree<(u64, u64), u64>,
    /// Planned contents of inodes, by number.
    pub(super) edits: KVec<(u64, Inode)>,
    pub(crate) repairs: RepairQueue,
    pub(crate) repair_work: RepairWork,
    /// The first place at which an inode can [await eviction](crate::incore::inode::Node); [`None`]
    /// if no inode does.
    pub(crate) evict_from: Option<Place>,
    /// An inode without links, users, contents and attributes. The next transaction of any
    /// operation also removes it.
    pub(crate) unused: Option<u64>,
    /// The time since when changes have been waiting for repairs.
    pub(crate) waiting_since: Option<Instant<Monotonic>>,
}

impl State {
    /// Creates the state of a filesystem of which nothing but the superblock is loaded.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn new(
        volume: Arc<Volume>,
        repair_work: RepairWork,
        metadata: Metadata,
    ) -> Result<Self> {
        Ok(Self {
            view: Writer::new(View::new(volume.clone(), *metadata.superblock())?)?,
            space: FreeSpace::new(metadata.geometry().data())?,
            metadata,
            volume,
            cow_blocks: RBTree::new(),
            edits: KVec::new(),
            repairs: RepairQueue::new(),
            repair_work,
            evict_from: None,
            unused: None,
            waiting_since: None,
        })
    }

    /// Updates the numbers for `statfs()`.
    pub(crate) fn update_counts(&self) {
        // Free blocks can become metadata.
        let more = self.metadata.units_of_more(self.space.free_blocks());
        let unused = self.unused.map_or(0, |_| Inode::UNITS);

        self.view.counts.set(
            self.space.free_blocks(),
            self.metadata.units().saturating_add(more),
            self.metadata
                .free()
                .saturating_add(more)
                .saturating_add(unused),
        );
    }
}
