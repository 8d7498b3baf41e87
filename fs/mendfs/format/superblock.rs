// SPDX-License-Identifier: GPL-2.0

//! The superblock.

use core::fmt;

use super::{
    bytes::{
        array_at,
        put,
        put_text,
        u32_at,
        u64_at, //
    },
    fault::Fault,
    geometry::Geometry,
    header::{
        Header,
        Magic, //
    },
    sizes::{
        Block,
        Uuid,
        FEATURES,
        VERSION, //
    },
};

/// The secret of a filesystem. It is the key of the hash that orders names, and a part of the
/// header of each metadata block, see [`Chunk`](super::chunk::Chunk). A user with the secret could
/// create many names with the same hash, which makes lookups slow, and could forge metadata blocks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret(pub [u8; 16]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The superblock.
///
/// After the header: version (`u32` at 40), 4 bytes of zeroes, number of blocks of the filesystem
/// (`u64` at 48), of one copy of the first chunk (`u64` at 56) and of the journal (`u64` at 64),
/// label (72, 32 bytes, padded with zeroes), secret (104, 16 bytes), features (`u64` at 120), UUID
/// for mounting (128, 16 bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// UUID of the filesystem in the header of each of its blocks.
    pub uuid: Uuid,
    /// The sizes.
    pub geometry: Geometry,
    /// The label, padded with zeroes.
    pub label: [u8; 32],
    /// The key of the hash that orders names.
    pub secret: Secret,
    /// UUID that users see and mount by. Equal to `uuid` until `mendfs uuid` changes it.
    pub mount_uuid: Uuid,
}

impl Superblock {
    /// The bytes of a label, padded with zeroes to 32; [`None`] if there are more than 32.
    pub fn padded_label(bytes: &[u8]) -> Option<[u8; 32]> {
        let mut label = [0; 32];

        put_text(&mut label, 0, bytes);
        (bytes.len() <= label.len()).then_some(label)
    }

    /// Writes the superblock to a block.
    pub fn write(&self, block: &mut Block, checksum: impl FnOnce(&[u8]) -> u32) {
        block.fill(0);
        put(block, 40, &VERSION.to_le_bytes());
        put(block, 48, &self.geometry.blocks().to_le_bytes());
        put(block, 56, &self.geometry.metadata_blocks().to_le_bytes());
        put(block, 64, &self.geometry.journal_blocks().to_le_bytes());
        put(block, 72, &self.label);
        put(block, 104, &self.secret.0);
        put(block, 128, &self.mount_uuid);

        Header {
            magic: Magic::Super,
            uuid: self.uuid,
            address: 0,
            sequence: 0,
        }
        .seal(block, checksum);
    }

    /// Whether two superblocks differ at most in the label and the UUID for mounting. The two
    /// copies of a superblock do so after a crash between the writes of a new label or UUID.
    pub fn differs_in_names_only(&self, other: &Self) -> bool {
        let Self {
            label, mount_uuid, ..
        } = *other;

        Self {
            label,
            mount_uuid,
            ..*self
        } == *other
    }

    /// Whether `other` can be the superblock of this filesystem after it has grown. After a crash
    /// during growth, both superblocks can be on the volume, together with the second copy of this
    /// one.
    pub fn can_grow_to(&self, other: &Self) -> bool {
        let geometry = other.geometry;

        self.geometry.grown(geometry.blocks) == Ok(geometry)
            && Self { geometry, ..*self }.differs_in_names_only(other)
    }

    /// Reads a superblock.
    ///
    /// # Errors
    ///
    /// - As [`Header::open()`] and [`Geometry::new()`].
    /// - [`Fault::Version`] and [`Fault::Features`] if this code does not support the version or a
    ///   feature.
    pub fn read(block: &Block, checksum: impl FnOnce(&[u8]) -> u32) -> Result<Self, Fault> {
        let header = Header::open(block, Magic::Super, 0, checksum)?;

        match u32_at(block, 40) {
            VERSION => {}
            other => return Err(Fault::Version(other)),
        }
        match u64_at(block, 120) & !FEATURES {
            0 => {}
            unknown => return Err(Fault::Features(unknown)),
        }

        Ok(Self {
            uuid: header.uuid,
            geometry: Geometry::new(u64_at(block, 48), u64_at(block, 64), u64_at(block, 56))?,
            label: array_at(block, 72),
            secret: Secret(array_at(block, 104)),
            mount_uuid: array_at(block, 128),
        })
    }
}
