// SPDX-License-Identifier: GPL-2.0

//! How a mounted filesystem changes.

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

/// Who changes a mounted filesystem, behind one lock.
///
/// An operation changes it in four steps. It begins, which undoes what one before has left behind
/// when it failed. It plans: adds and replaces records, takes blocks, and reserves memory for what
/// will follow. It commits: the transaction becomes durable. Then it publishes the change, which
/// cannot fail. Only then readers wait.
pub(crate) struct State {
    pub(crate) volume: Arc<Volume>,
    pub(crate) view: Writer<View>,
    pub(crate) metadata: Metadata,
    pub(crate) space: FreeSpace,
    /// Blocks that are not those of a file yet, by the inode and the block of it that is about to
    /// be copied to them.
    pub(crate) cow_blocks: RBTree<(u64, u64), u64>,
    /// Inodes that change with the next commit.
    pub(super) edits: KVec<(u64, Inode)>,
    pub(crate) repairs: RepairQueue,
    pub(crate) repair_work: RepairWork,
    /// A place before which no inode is to be removed as soon as that is possible, if any is.
    pub(crate) evict_from: Option<Place>,
    /// An inode without a link, contents and attributes, which nobody uses any more. It is removed
    /// by the next transaction, whatever that is for.
    pub(crate) unused: Option<u64>,
    /// Since when changes have been waiting for what must be repaired before them.
    pub(crate) waiting_since: Option<Instant<Monotonic>>,
}

impl State {
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

    /// Counts anew what `statfs()` tells.
    pub(crate) fn count(&self) {
        // What is free may become metadata.
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
