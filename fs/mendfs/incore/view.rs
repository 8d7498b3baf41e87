// SPDX-License-Identifier: GPL-2.0

//! What readers see of a mounted filesystem.

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
    damage::damaged,
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

/// What readers see. Whatever they see is durable.
///
/// The state is the writer of it, and changes it in short steps.
pub(crate) struct View {
    pub(crate) volume: Arc<Volume>,
    pub(crate) superblock: Superblock,
    /// What the hashes of names are computed with.
    pub(crate) key: Key,
    pub(crate) table: Table,
    pub(crate) nodes: Nodes,
    pub(crate) owners: Owners,
    pub(crate) readers: Arc<Readers>,
    /// Data that is bad. What no file has of it is not free either.
    pub(crate) bad: BadBlocks,
    pub(crate) counts: Counts,
    /// Nothing can be changed or read any more.
    is_shut_down: bool,
}

/// What `statfs()` tells. It needs no lock: these change more often than anything else.
#[derive(Default)]
pub(crate) struct Counts {
    free_blocks: AtomicU64,
    /// Units that records have, and could have.
    units: AtomicU64,
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
    /// Nothing is loaded yet.
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

    /// # Errors
    ///
    /// - `EIO` if the filesystem is shut down.
    pub(crate) fn check(&self) -> Result {
        match self.is_shut_down {
            true => Err(EIO),
            false => Ok(()),
        }
    }

    /// Shuts the filesystem down, and says why.
    pub(crate) fn shut_down(&mut self, why: impl fmt::Display) {
        if !self.is_shut_down {
            pr_err!("{}: {why}, shutting down\n", self.volume);
        }
        self.is_shut_down = true;
    }

    /// # Errors
    ///
    /// - `ESTALE` if there is no inode of this number.
    pub(crate) fn node(&self, number: u64) -> Result<&Node> {
        self.nodes.get(number).ok_or(ESTALE)
    }

    /// # Errors
    ///
    /// - `ESTALE` if there is no inode of this number.
    pub(crate) fn node_mut(&mut self, number: u64) -> Result<&mut Node> {
        self.nodes.get_mut(number).ok_or(ESTALE)
    }

    /// Calls `f` with each part of `blocks` that nobody owns, and nobody reads.
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

    /// Makes a chunk known to be metadata.
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

    /// Says that the record at an address is damaged.
    pub(crate) fn damaged(&self, address: u64, what: impl fmt::Display) -> Error {
        damaged(&self.volume, address, what)
    }
}
