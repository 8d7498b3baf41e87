// SPDX-License-Identifier: GPL-2.0

//! The on-media format of mendfs. This is its only definition: the module and the tools share it.
//!
//! A filesystem is divided into blocks of 4 KiB. Each of its two ends holds one copy of the
//! superblock, the journal and the first chunk of the metadata. The data lies between the copies:
//!
//! ```text
//! | superblock | journal | chunk 0 |      data      | chunk 0 | journal | superblock |
//! 0            1                                                          blocks - 1
//! ```
//!
//! The filesystem allocates further chunks of the metadata from the data when it needs them, see
//! [`Chunk`].
//!
//! A metadata block is a header and 63 units of 64 bytes. A free unit is all zeroes. A [`Record`]
//! fills one or more units of a block; its address, `64 * block + unit`, never changes. Records
//! refer to each other by address. They have no order on the media: a mount reads all of them, and
//! orders them in memory. The number of an inode is the address of its record.
//!
//! All numbers are little-endian. The functions that read accept any input, because an image can
//! contain anything.
//!
//! The module uses only `core`, because the tools are built from it, too.
//! `Documentation/mendfs-format.rst` describes the format byte by byte.

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
