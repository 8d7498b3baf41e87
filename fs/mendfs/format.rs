// SPDX-License-Identifier: GPL-2.0

//! The on-media format of mendfs, defined once: for the module and for the tools.
//!
//! A device is divided into blocks of 4 KiB. The superblock, the journal and the first chunk of the
//! metadata are there twice, at either end, with the data between them:
//!
//! ```text
//! | superblock | journal | chunk 0 |      data      | chunk 0 | journal | superblock |
//! 0            1                                                          blocks - 1
//! ```
//!
//! More chunks of the metadata are made from the data when they are needed, see [`Chunk`].
//!
//! A metadata block is a header and 63 units of 64 bytes. A unit that is free is zeroes. A
//! [`Record`] fills one or more units of a block; its address, `64 * block + unit`, never changes.
//! Records refer to each other by address, and are in no order: whoever mounts the filesystem reads
//! all of them and keeps the order in memory. The number of an inode is the address of its record.
//!
//! All numbers are little-endian. Everything is read by total functions: what an image holds can
//! be anything.
//!
//! It uses `core` only, so that it is also built for the tools.
//! `Documentation/mendfs-format.rst` describes the same, byte by byte.

mod bytes;
mod chunk;
mod fault;
mod geometry;
mod header;
mod inode;
mod record;
mod sizes;
mod superblock;
mod transaction;

pub use self::{
    chunk::Chunk,
    fault::Fault,
    geometry::{
        Geometry,
        Place, //
    },
    header::{
        Header,
        Magic, //
    },
    inode::{
        Extent,
        Inode,
        Time, //
    },
    record::Record,
    sizes::{
        Block,
        Uuid,
        BLOCK_SHIFT,
        BLOCK_SIZE,
        CHUNK_BLOCKS,
        COPIES,
        FEATURES,
        LAST_SEQUENCE,
        MAX_METADATA,
        NAME_MAX,
        ROOT,
        SLOTS,
        UNITS,
        UNIT_SIZE,
        VERSION, //
    },
    superblock::{
        Secret,
        Superblock, //
    },
    transaction::Transaction, //
};
