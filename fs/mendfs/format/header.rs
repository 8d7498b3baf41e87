// SPDX-License-Identifier: GPL-2.0

//! The header at the start of superblocks, metadata blocks and transactions.

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

/// The kind of a structure.
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
/// The address is the number of a metadata block in the metadata, the number of a slot in the
/// journal, or 0 in a superblock. The copies of a structure are equal, byte for byte. The header of
/// a metadata block has more fields, see [`Chunk`](super::chunk::Chunk).
///
/// The checksum is CRC-32C as in iSCSI and ext4: it starts with all bits set, and is inverted at
/// the end. The checksum of `123456789` is `0xe3069283`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The kind of the structure.
    pub magic: Magic,
    /// UUID of the filesystem.
    pub uuid: Uuid,
    /// The number of the metadata block or of the slot; 0 in a superblock.
    pub address: u64,
    /// The transaction that last changed the structure.
    pub sequence: u64,
}

impl Header {
    /// Writes the header to the structure `bytes`, with the checksum of the structure.
    pub fn seal(self, bytes: &mut [u8], checksum: impl FnOnce(&[u8]) -> u32) {
        put(bytes, 4, &self.magic.as_raw().to_le_bytes());
        put(bytes, 8, &self.uuid);
        put(bytes, 24, &self.address.to_le_bytes());
        put(bytes, 32, &self.sequence.to_le_bytes());

        let sum = checksum(bytes.get(4..).unwrap_or(&[]));

        put(bytes, 0, &sum.to_le_bytes());
    }

    /// Reads the header of the structure `bytes`, and checks every field except the UUID.
    ///
    /// # Errors
    ///
    /// - [`Fault::Foreign`] if the magic is not `magic`.
    /// - [`Fault::Checksum`] if the checksum is wrong.
    /// - [`Fault::Address`] if the address is not `address`.
    /// - [`Fault::Value`] if the sequence is greater than [`LAST_SEQUENCE`].
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
