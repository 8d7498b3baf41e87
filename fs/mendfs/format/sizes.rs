// SPDX-License-Identifier: GPL-2.0

//! Version, sizes and limits.

/// The version of the format. Code refuses a filesystem of any other version.
pub const VERSION: u32 = 2;

/// The known features of the format: none. Code refuses a filesystem with any other feature.
pub const FEATURES: u64 = 0;

/// Binary logarithm of the size of a block in bytes.
pub const BLOCK_SHIFT: u32 = 12;

/// Size of a block in bytes.
pub const BLOCK_SIZE: usize = 1 << BLOCK_SHIFT;

/// Size of a unit in bytes: a cache line, and the smallest amount of metadata that is written.
pub const UNIT_SIZE: usize = 64;

/// Number of units in a metadata block, including the header, which is unit 0.
pub const UNITS: u64 = (BLOCK_SIZE / UNIT_SIZE) as u64;

/// Number of copies of the superblock, the journal and the metadata.
pub const COPIES: u64 = 2;

/// Number of blocks in one copy of a chunk of the metadata, except the first chunk. The first block
/// of a copy is a multiple of it.
pub const CHUNK_BLOCKS: u64 = 16;

/// Maximum number of blocks in one copy of the metadata: 64 units each, so that the address of a
/// record has at most 32 bits.
pub const MAX_METADATA: u64 = 1 << 26;

/// Number of slots of a copy of the journal. A transaction is written to slot `sequence % SLOTS`.
pub const SLOTS: u64 = 2;

/// The greatest valid sequence. No filesystem can reach it: 10^9 transactions a second would take
/// 146 years. A greater value is damage.
pub const LAST_SEQUENCE: u64 = 1 << 62;

/// The inode of the root directory, whose record is the first of metadata block 0.
pub const ROOT: u64 = 1;

/// Length in bytes of the longest name.
pub const NAME_MAX: usize = 255;

/// A block of an image.
pub type Block = [u8; BLOCK_SIZE];

/// A universally unique identifier.
pub type Uuid = [u8; 16];
