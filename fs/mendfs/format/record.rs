// SPDX-License-Identifier: GPL-2.0

//! Records of the metadata.

use super::{
    bytes::{
        put,
        put_text,
        u32_at,
        u64_at,
        u8_at, //
    },
    chunk::Chunk,
    fault::Fault,
    geometry::Geometry,
    inode::{
        Extent,
        Inode, //
    },
    sizes::{
        UNITS,
        UNIT_SIZE, //
    },
};

/// A record of the metadata.
///
/// | bytes | contents                                                    |
/// |-------|-------------------------------------------------------------|
/// | 0     | kind; 0 is a free unit                                      |
/// | 1     | number of units                                             |
/// | 2     | detail: the type of a name's target, bits 12 to 15 of its mode |
/// | 3     | length of the name                                          |
/// | 4     | length of the value (`u32`)                                 |
/// | 8     | the inode that the record belongs to                        |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// Kind 1: an inode. It belongs to itself.
    Inode(Inode),
    /// Kind 2: an extent of a file. It belongs to the file.
    Extent(Extent),
    /// Kind 3: a name. It belongs to its directory. The target's number is a `u64` at 16, the name
    /// follows at 24.
    Name {
        /// The inode that the name leads to.
        target: u64,
        /// The target's type, as in `mode`.
        kind: u32,
        /// The name, 1 to 255 bytes without a slash or a zero.
        name: &'a [u8],
    },
    /// Kind 4: an extended attribute. The name starts at 16, and the value follows it.
    Attribute {
        /// The name with its namespace, `user.…`.
        name: &'a [u8],
        /// The value. Name and value fit a metadata block together.
        value: &'a [u8],
    },
    /// Kind 5: the target of the symbolic link that it belongs to, from 16 on.
    Target(&'a [u8]),
    /// Kind 6: bad blocks of the data area. Either no file owns them, or files own them and their
    /// data is gone. First block and number of blocks, `u64` at 16 and 24. It belongs to no inode
    /// (0).
    Bad {
        /// First block on the volume.
        block: u64,
        /// Number of blocks, not 0.
        count: u64,
    },
    /// Kind 7: the next chunk of the metadata. Only the last unit of a chunk can be this record.
    /// Number of the next chunk and first block of each of its copies, `u64` at 16, 24 and 32. It
    /// belongs to no inode (0).
    Chunk(Chunk),
}

/// Length in bytes of the fields that all records start with.
const HEAD: usize = 16;

/// Offset in bytes of the name in a [`Record::Name`].
const NAME_AT: usize = 24;

impl<'a> Record<'a> {
    /// Maximum length in bytes of the target of a symbolic link, and of the name and the value of
    /// an attribute together.
    pub const MAX_TEXT: usize = (UNITS as usize - 1) * UNIT_SIZE - HEAD;

    /// The number of units of the record at the start of `bytes`, which end with the block. Returns
    /// [`None`] if the first unit is free.
    ///
    /// # Errors
    ///
    /// - [`Fault::Length`] if the number is 0, or the record would end after `bytes`.
    pub fn units(bytes: &[u8]) -> Result<Option<u64>, Fault> {
        if u8_at(bytes, 0) == 0 {
            return Ok(None);
        }

        let units = u8_at(bytes, 1);

        match usize::from(units).saturating_mul(UNIT_SIZE) {
            0 => Err(Fault::Length),
            len if len > bytes.len() => Err(Fault::Length),
            _ => Ok(Some(units.into())),
        }
    }

    /// Reads a record. Returns the inode that the record belongs to, and the record. `bytes` are
    /// its units.
    ///
    /// # Errors
    ///
    /// - [`Fault::Kind`] if the kind is unknown.
    /// - [`Fault::Length`] if the contents do not need exactly these units.
    /// - [`Fault::Value`] if a field is invalid.
    pub fn read(bytes: &'a [u8]) -> Result<(u64, Self), Fault> {
        let name_len = usize::from(u8_at(bytes, 3));
        // CAST: A `usize` has 64 bits.
        let value_len = u32_at(bytes, 4) as usize;
        let text = |start: usize, len: usize| {
            bytes
                .get(start..start.saturating_add(len))
                .ok_or(Fault::Length)
        };

        let record = match u8_at(bytes, 0) {
            1 => Self::Inode(Inode::read(bytes)?),
            2 => Self::Extent(Extent::read(bytes)?),
            3 => Self::Name {
                target: u64_at(bytes, 16),
                kind: u32::from(u8_at(bytes, 2)) << 12,
                name: text(NAME_AT, name_len)?,
            },
            4 => Self::Attribute {
                name: text(HEAD, name_len)?,
                value: text(HEAD.saturating_add(name_len), value_len)?,
            },
            5 => Self::Target(text(HEAD, value_len)?),
            6 => Self::Bad {
                block: u64_at(bytes, 16),
                count: u64_at(bytes, 24),
            },
            7 => Self::Chunk(Chunk::read(bytes)?),
            _ => return Err(Fault::Kind),
        };

        // Each record has exactly one valid number of units: as many as its contents need.
        if record.size().div_ceil(UNIT_SIZE).saturating_mul(UNIT_SIZE) != bytes.len() {
            return Err(Fault::Length);
        }
        record.check()?;
        Ok((u64_at(bytes, 8), record))
    }

    fn check(&self) -> Result<(), Fault> {
        let is_sane = match *self {
            Self::Inode(_) | Self::Extent(_) | Self::Chunk(_) => true,
            Self::Name { target, name, .. } => {
                target != 0
                    && !matches!(name, b"" | b"." | b"..")
                    && !name.iter().any(|byte| matches!(byte, 0 | b'/'))
            }
            Self::Attribute { name, .. } => !name.is_empty() && !name.contains(&0),
            Self::Target(target) => !target.is_empty() && !target.contains(&0),
            Self::Bad { block, count } => block
                .checked_add(count)
                .is_some_and(|end| count != 0 && end <= Geometry::MAX_BLOCKS),
        };

        is_sane.then_some(()).ok_or(Fault::Value)
    }

    /// The size of the record in bytes, not rounded up to units.
    pub(super) fn size(&self) -> usize {
        match self {
            // CAST: The constant is 2.
            Self::Inode(_) => Inode::UNITS as usize * UNIT_SIZE,
            Self::Extent(_) | Self::Bad { .. } | Self::Chunk(_) => UNIT_SIZE,
            Self::Name { name, .. } => NAME_AT.saturating_add(name.len()),
            Self::Attribute { name, value } => {
                HEAD.saturating_add(name.len()).saturating_add(value.len())
            }
            Self::Target(target) => HEAD.saturating_add(target.len()),
        }
    }

    /// The number of units that the record needs. It exceeds [`UNITS`] if the record is too long.
    pub fn unit_count(&self) -> u64 {
        // CAST: A `usize` has 64 bits.
        self.size().div_ceil(UNIT_SIZE) as u64
    }

    /// Writes the record, which belongs to `inode`, to its units `bytes`, and zeroes their rest.
    pub fn write(&self, inode: u64, bytes: &mut [u8]) {
        let (kind, detail, name_len, value_len) = match *self {
            Self::Inode(_) => (1, 0, 0, 0),
            Self::Extent(_) => (2, 0, 0, 0),
            Self::Name { kind, name, .. } => (3, kind >> 12, name.len(), 0),
            Self::Attribute { name, value } => (4, 0, name.len(), value.len()),
            Self::Target(target) => (5, 0, 0, target.len()),
            Self::Bad { .. } => (6, 0, 0, 0),
            Self::Chunk(_) => (7, 0, 0, 0),
        };

        bytes.fill(0);
        // CAST: The record fits a block: it has fewer than 64 units, and the name of a directory
        // entry or attribute has at most 255 bytes. The detail is a type, which has 4 bits.
        put(
            bytes,
            0,
            &[kind, self.unit_count() as u8, detail as u8, name_len as u8],
        );
        put(bytes, 4, &(value_len as u32).to_le_bytes());
        put(bytes, 8, &inode.to_le_bytes());

        match *self {
            Self::Inode(inode) => inode.write(bytes),
            Self::Extent(extent) => extent.write(bytes),
            Self::Name { target, name, .. } => {
                put(bytes, 16, &target.to_le_bytes());
                put_text(bytes, NAME_AT, name);
            }
            Self::Attribute { name, value } => {
                put_text(bytes, HEAD, name);
                put_text(bytes, HEAD.saturating_add(name.len()), value);
            }
            Self::Target(target) => put_text(bytes, HEAD, target),
            Self::Bad { block, count } => {
                put(bytes, 16, &block.to_le_bytes());
                put(bytes, 24, &count.to_le_bytes());
            }
            Self::Chunk(chunk) => chunk.write(bytes),
        }
    }
}

impl Geometry {
    /// Reads the record of the chunk after chunk `number`. `unit` is the last unit of chunk
    /// `number`. Returns [`None`] if the unit is free: then there is no later chunk.
    ///
    /// # Errors
    ///
    /// - As [`Record::read()`].
    /// - [`Fault::Value`] if the unit is another record, or the number or the place of the chunk is
    ///   invalid.
    pub fn next_chunk(&self, number: u64, unit: &[u8; UNIT_SIZE]) -> Result<Option<Chunk>, Fault> {
        if *unit == [0; UNIT_SIZE] {
            return Ok(None);
        }

        let data = self.data();

        match Record::read(unit)? {
            (0, Record::Chunk(next))
                if next.number > number
                    && self.is_valid_chunk(next.number)
                    && next
                        .blocks()
                        .iter()
                        .all(|copy| data.start <= copy.start && copy.end <= data.end) =>
            {
                Ok(Some(next))
            }
            _ => Err(Fault::Value),
        }
    }
}
