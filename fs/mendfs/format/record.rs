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
/// | 2     | detail: the type of a name's target, the upper bits of its mode |
/// | 3     | length of the name                                          |
/// | 4     | length of the value (`u32`)                                 |
/// | 8     | the inode that it belongs to                                |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// Kind 1: an inode. It belongs to itself.
    Inode(Inode),
    /// Kind 2: a piece of the inode's contents.
    Extent(Extent),
    /// Kind 3: a name in a directory, which the record belongs to. The target's number is a `u64`
    /// at 16, the name follows.
    Name {
        /// The inode of this name.
        target: u64,
        /// The target's type, in the way of `mode`.
        kind: u32,
        /// The name, 1 to 255 bytes without a slash or a zero.
        name: &'a [u8],
    },
    /// Kind 4: an extended attribute. Name and value follow from 16 on.
    Attribute {
        /// The name with its namespace, `user.…`.
        name: &'a [u8],
        /// The value, of any length that fits a block.
        value: &'a [u8],
    },
    /// Kind 5: the target of the symbolic link that it belongs to, from 16 on.
    Target(&'a [u8]),
    /// Kind 6: bad blocks that no file has, or that the data of one is lost in. First block and
    /// number of blocks, `u64` at 16 and 24. It belongs to no inode (0).
    Bad {
        /// First block of the device.
        block: u64,
        /// Number of blocks, not 0.
        count: u64,
    },
    /// Kind 7: the next chunk of the metadata, in the last unit of one, and nowhere else. Its
    /// number and the first block of each copy, `u64` at 16, 24 and 32. It belongs to no inode (0).
    Chunk(Chunk),
}

/// Length in bytes of what all records start with.
const HEAD: usize = 16;

/// Where the name in a [`Record::Name`] starts.
const NAME_AT: usize = 24;

impl<'a> Record<'a> {
    /// Length in bytes of the longest target of a symbolic link, and of name and value of an
    /// attribute together.
    pub const MAX_TEXT: usize = (UNITS as usize - 1) * UNIT_SIZE - HEAD;

    /// The number of units of a record that starts with `bytes`; [`None`] if the unit is free.
    ///
    /// # Errors
    ///
    /// - [`Fault::Length`] if it would reach beyond `bytes`, the rest of the block.
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

    /// Reads a record, and the inode that it belongs to. `bytes` are its units.
    ///
    /// # Errors
    ///
    /// - [`Fault::Kind`], [`Fault::Length`] and [`Fault::Value`].
    pub fn read(bytes: &'a [u8]) -> Result<(u64, Self), Fault> {
        let name_len = usize::from(u8_at(bytes, 3));
        // CAST: A `u32` is a `usize`.
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

        // A record has one shape: no more units than it needs, and no lengths that mean nothing.
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

    /// The size of the record in bytes, before it is rounded up to units.
    pub(super) fn size(&self) -> usize {
        match self {
            // CAST: It is 2.
            Self::Inode(_) => Inode::UNITS as usize * UNIT_SIZE,
            Self::Extent(_) | Self::Bad { .. } | Self::Chunk(_) => UNIT_SIZE,
            Self::Name { name, .. } => NAME_AT.saturating_add(name.len()),
            Self::Attribute { name, value } => {
                HEAD.saturating_add(name.len()).saturating_add(value.len())
            }
            Self::Target(target) => HEAD.saturating_add(target.len()),
        }
    }

    /// The number of units that the record needs. More than a block has if it is too long.
    pub fn unit_count(&self) -> u64 {
        // CAST: A `usize` is a `u64`.
        self.size().div_ceil(UNIT_SIZE) as u64
    }

    /// Writes the record, which belongs to `inode`, to its units. What they held before goes.
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
        // CAST: Lengths are those of a record that fits a block.
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
    /// The chunk that the last unit of chunk `number` is the record of, if there is one.
    ///
    /// # Errors
    ///
    /// - As [`Record::read()`], and [`Fault::Value`] if it cannot be there.
    pub fn next_chunk(&self, number: u64, unit: &[u8; UNIT_SIZE]) -> Result<Option<Chunk>, Fault> {
        if *unit == [0; UNIT_SIZE] {
            return Ok(None);
        }

        let data = self.data();

        match Record::read(unit)? {
            (0, Record::Chunk(next))
                if next.number > number
                    && self.may_have(next.number)
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
