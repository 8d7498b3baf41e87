// SPDX-License-Identifier: GPL-2.0

//! The state of a mounted filesystem that readers see.

use core::{
    ops::Range,
    sync::atomic::{
        AtomicU64,
        Ordering, //
    },
};

use daxmf::{
    fs::{
        Statistics,
        Volume, //
    },
    interval_tree::Vacant,
    siphash::Key, //
};
use kernel::{
    fmt,
    prelude::*,
    sync::Arc, //
};

use crate::{
    damage::report_damage,
    format::{
        Chunk,
        Inode,
        Superblock,
        COPIES, //
    },
    incore::{
        bad_blocks::BadBlocks,
        inode::Node,
        nodes::Nodes,
        owners::{
            Owner,
            Owners, //
        },
        readers::Readers,
        table::Table, //
    },
};

/// The state that readers see. It contains only durable changes.
///
/// [`State`](crate::change::state::State) has the [`Writer`](daxmf::single_writer::Writer) of it,
/// and locks readers out for short steps only.
pub(crate) struct View {
    pub(crate) volume: Arc<Volume>,
    pub(crate) superblock: Superblock,
    /// The key of the hashes of names.
    pub(crate) key: Key,
    pub(crate) table: Table,
    pub(crate) nodes: Nodes,
    pub(crate) owners: Owners,
    pub(crate) readers: Arc<Readers>,
    /// Bad blocks of the data area. A bad block without an owner is not free.
    pub(crate) bad: BadBlocks,
    pub(crate) counts: Counts,
    /// If set, all reads and changes fail with `EIO`.
    is_shut_down: bool,
}

/// The numbers for `statfs()`. They are atomic, because each change updates them, and must not wait
/// for readers to do so.
#[derive(Default)]
pub(crate) struct Counts {
    free_blocks: AtomicU64,
    /// The number of units for records that there would be if all free blocks became metadata.
    units: AtomicU64,
    /// The number of free units among `units`.
    free_units: AtomicU64,
}

impl Counts {
    pub(crate) fn set(&self, free_blocks: u64, units: u64, free_units: u64) {
        self.free_blocks.store(free_blocks, Ordering::Relaxed);
        self.units.store(units, Ordering::Relaxed);
        self.free_units.store(free_units, Ordering::Relaxed);
    }
}

impl View {
    /// Creates the state without records, inodes and owners.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn new(volume: Arc<Volume>, superblock: Superblock) -> Result<Self> {
        Ok(Self {
            table: Table::new(volume.clone(), superblock.geometry),
            volume,
            key: Key::new(superblock.secret.0),
            superblock,
            nodes: Nodes::new()?,
            owners: Owners::new(),
            readers: Readers::new()?,
            bad: BadBlocks::new(),
            counts: Counts::default(),
            is_shut_down: false,
        })
    }

    /// Checks that the filesystem is not shut down.
    ///
    /// # Errors
    ///
    /// - `EIO` if the filesystem is shut down.
    pub(crate) fn check(&self) -> Result {
        match self.is_shut_down {
            true => Err(EIO),
            false => Ok(()),
        }
    }

    /// Shuts the filesystem down, and logs why.
    pub(crate) fn shut_down(&mut self, why: impl fmt::Display) {
        if !self.is_shut_down {
            pr_err!("{}: {why}, shutting down\n", self.volume);
        }
        self.is_shut_down = true;
    }

    /// The inode of this number.
    ///
    /// # Errors
    ///
    /// - `ESTALE` if there is no inode of this number.
    pub(crate) fn node(&self, number: u64) -> Result<&Node> {
        self.nodes.get(number).ok_or(ESTALE)
    }

    /// The inode of this number, to be changed.
    ///
    /// # Errors
    ///
    /// - `ESTALE` if there is no inode of this number.
    pub(crate) fn node_mut(&mut self, number: u64) -> Result<&mut Node> {
        self.nodes.get_mut(number).ok_or(ESTALE)
    }

    /// Calls `f` with each part of `blocks` that has neither an owner nor a reader.
    pub(crate) fn for_each_gap(&self, blocks: Range<u64>, mut f: impl FnMut(Range<u64>)) {
        self.owners
            .for_each_gap(blocks, |gap| self.readers.for_each_gap(gap, &mut f));
    }

    pub(crate) fn statistics(&self) -> Statistics {
        let data = self.superblock.geometry.data();
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);

        Statistics {
            blocks: data.end.saturating_sub(data.start),
            free_blocks: count(&self.counts.free_blocks),
            inodes: count(&self.counts.units) / Inode::UNITS,
            free_inodes: count(&self.counts.free_units) / Inode::UNITS,
            uuid: self.superblock.mount_uuid,
        }
    }

    /// Adds both copies of a chunk to the reverse map, as metadata.
    pub(crate) fn add_chunk_owners(
        &mut self,
        chunk: &Chunk,
        vacant: [Vacant<Owner>; COPIES as usize],
    ) {
        for ((copy, blocks), vacant) in (0..).zip(chunk.blocks()).zip(vacant) {
            self.owners
                .add(vacant, blocks, Owner::metadata(chunk.number, copy));
        }
    }

    pub(crate) fn remove_chunk_owners(&mut self, chunk: &Chunk) {
        for (copy, blocks) in (0..).zip(chunk.blocks()) {
            let _ = self
                .owners
                .remove(blocks, Owner::metadata(chunk.number, copy));
        }
    }

    /// Logs that the record at an address is damaged. Returns `EUCLEAN`.
    pub(crate) fn report_damage(&self, address: u64, what: impl fmt::Display) -> Error {
        report_damage(&self.volume, address, what)
    }
}
