// SPDX-License-Identifier: GPL-2.0

//! The header that all blocks and transactions start with.

use super::{
    bytes::{
        array_at,
        put,
        u32_at,
        u64_at, //
    },
    fault::Fault,
    sizes::{
        Uuid,
        LAST_SEQUENCE, //
    },
};

/// What a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Magic {
    /// A superblock.
    Super,
    /// A block of metadata.
    Metadata,
    /// A slot of the journal.
    Journal,
}

impl Magic {
    const fn as_raw(self) -> u32 {
        u32::from_le_bytes(match self {
            Self::Super => *b"mfSB",
            Self::Metadata => *b"mfMD",
            Self::Journal => *b"mfJR",
        })
    }
}

/// The header of a block or of a slot of the journal: its first unit.
///
/// | bytes | contents                             |
/// |-------|--------------------------------------|
/// | 0     | crc32c of all that follows, see below|
/// | 4     | magic                                |
/// | 8     | UUID of the filesystem               |
/// | 24    | address, see below                   |
/// | 32    | sequence of the last transaction     |
/// | 40    | depends on the magic                 |
///
/// The address is the number of a metadata block in the metadata, of a slot in the journal, and 0
/// for a superblock. The copies of a structure are equal, byte for byte. For metadata there is
/// more, see [`Chunk`](super::chunk::Chunk).
///
/// The checksum is that of iSCSI and ext4: it starts with all bits set, and is inverted at the end,
/// so that of `123456789` is `0xe3069283`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the structure is.
    pub magic: Magic,
    /// UUID of the filesystem.
    pub uuid: Uuid,
    /// Where it was written for.
    pub address: u64,
    /// The transaction that has last changed it.
    pub sequence: u64,
}

impl Header {
    /// Writes the header to the structure `bytes`, and the checksum of the structure into it.
    pub fn seal(self, bytes: &mut [u8], checksum: impl FnOnce(&[u8]) -> u32) {
        put(bytes, 4, &self.magic.as_raw().to_le_bytes());
        put(bytes, 8, &self.uuid);
        put(bytes, 24, &self.address.to_le_bytes());
        put(bytes, 32, &self.sequence.to_le_bytes());

        let sum = checksum(bytes.get(4..).unwrap_or(&[]));

        put(bytes, 0, &sum.to_le_bytes());
    }

    /// Reads the header of the structure `bytes`, and checks all of it but the UUID.
    ///
    /// # Errors
    ///
    /// - [`Fault::Foreign`], [`Fault::Checksum`], [`Fault::Address`] and [`Fault::Value`].
    pub fn open(
        bytes: &[u8],
        magic: Magic,
        address: u64,
        checksum: impl FnOnce(&[u8]) -> u32,
    ) -> Result<Self, Fault> {
        if u32_at(bytes, 4) != magic.as_raw() {
            return Err(Fault::Foreign);
        }
        if u32_at(bytes, 0) != checksum(bytes.get(4..).unwrap_or(&[])) {
            return Err(Fault::Checksum);
        }
        if u64_at(bytes, 24) != address {
            return Err(Fault::Address);
        }
        if u64_at(bytes, 32) > LAST_SEQUENCE {
            return Err(Fault::Value);
        }

        Ok(Self {
            magic,
            uuid: array_at(bytes, 8),
            address,
            sequence: u64_at(bytes, 32),
        })
    }
}
