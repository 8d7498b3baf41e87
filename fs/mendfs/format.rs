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
//! This file uses `core` only, so that it is also built for the tools.
//! `Documentation/mendfs-format.rst` describes the same, byte by byte.

use core::{
    fmt,
    ops::Range, //
};

/// Binary logarithm of the size of a block in bytes.
pub const BLOCK_SHIFT: u32 = 12;

/// Size of a block in bytes.
pub const BLOCK_SIZE: usize = 1 << BLOCK_SHIFT;

/// Size of a unit in bytes. The smallest thing that is written.
pub const UNIT_SIZE: usize = 64;

/// Number of units in a metadata block, with the header, which is unit 0.
pub const UNITS: u64 = (BLOCK_SIZE / UNIT_SIZE) as u64;

/// The version that this file describes. No other is read.
pub const VERSION: u32 = 2;

/// The features that this file describes: none. A filesystem that has another is not read.
pub const FEATURES: u64 = 0;

/// Number of copies of the superblock, the journal and the metadata.
pub const COPIES: u64 = 2;

/// Number of blocks of a chunk of the metadata but the first, and what its copies are aligned to.
pub const CHUNK_BLOCKS: u64 = 16;

/// Most blocks of one copy of the metadata.
pub const MAX_METADATA: u64 = 1 << 26;

/// Number of slots of a journal. A transaction goes to slot `sequence % SLOTS`.
pub const SLOTS: u64 = 2;

/// The last transaction that there can be. What is behind it does not come by counting.
pub const LAST_SEQUENCE: u64 = 1 << 62;

/// The inode of the root directory, whose record is the first of metadata block 0.
pub const ROOT: u64 = 1;

/// Length in bytes of the longest name.
pub const NAME_MAX: usize = 255;

/// Where data starts and ends, in blocks: a multiple of what a huge page maps.
const DATA_ALIGN: u64 = 512;

/// A block of an image.
pub type Block = [u8; BLOCK_SIZE];

/// A universally unique identifier.
pub type Uuid = [u8; 16];

/// Something that is not as the format demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not this structure, or of another filesystem.
    Foreign,
    /// The checksum is wrong.
    Checksum,
    /// The structure was written for another place.
    Address,
    /// A version that this code does not know.
    Version(u32),
    /// Features that this code does not know, a bit each.
    Features(u64),
    /// Sizes that do not fit the device, or each other.
    Geometry,
    /// A record of no known kind.
    Kind,
    /// A record that is longer or shorter than its contents.
    Length,
    /// A field that has no meaning.
    Value,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("not a structure of this filesystem"),
            Self::Checksum => f.write_str("wrong checksum"),
            Self::Address => f.write_str("written for another address"),
            Self::Version(version) => write!(
                f,
                "format version {version}, and only {VERSION} is known: copy the files with the \
                 mendfs of that version, and make the filesystem anew"
            ),
            Self::Features(features) => write!(
                f,
                "features {features:#x} are not known: a newer mendfs is needed"
            ),
            Self::Geometry => f.write_str("sizes that do not fit the device"),
            Self::Kind => f.write_str("unknown kind of record"),
            Self::Length => f.write_str("wrong length"),
            Self::Value => f.write_str("value out of range"),
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..)
        .and_then(|bytes| bytes.first_chunk())
        .map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..)
        .and_then(|bytes| bytes.first_chunk())
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn u8_at(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

/// Puts `value` at `at`, as far as there is room.
#[inline]
fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    let room = bytes.get_mut(at..).unwrap_or(&mut []);
    let len = value.len().min(room.len());

    // Where the length is known, there is a copy of this length and no loop.
    match room.get_mut(..value.len()) {
        Some(room) => room.copy_from_slice(value),
        None => room.copy_from_slice(value.get(..len).unwrap_or(&[])),
    }
}

// Headers
// -------------------------------------------------------------------------------------------------

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
/// more, see [`Chunk`].
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

        let mut uuid = Uuid::default();
        put(&mut uuid, 0, bytes.get(8..24).unwrap_or(&[]));

        Ok(Self {
            magic,
            uuid,
            address,
            sequence: u64_at(bytes, 32),
        })
    }
}

// Superblock and geometry
// -------------------------------------------------------------------------------------------------

/// The sizes of a filesystem, in blocks.
///
/// # Invariants
///
/// The parts fit the device, and there is at least one block of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    blocks: u64,
    journal: u64,
    metadata: u64,
}

/// What a block of the device is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The superblock, which copy.
    Super(u64),
    /// A block of the journal, which copy.
    Journal(u64),
    /// A block of metadata: which copy, and its number.
    Metadata(u64, u64),
    /// Data of files, free, or another chunk of the metadata.
    Data,
    /// Nothing: a gap that aligns the data, or beyond the end.
    Unused,
}

impl Geometry {
    /// Most blocks of a device: 2^48 bytes.
    pub const MAX_BLOCKS: u64 = 1 << (48 - BLOCK_SHIFT);
    /// Least and most blocks of one copy of the journal.
    pub const JOURNAL_BLOCKS: Range<u64> = 8..0x1001;
    /// Least and most blocks of one copy of the first chunk of the metadata.
    pub const METADATA_BLOCKS: Range<u64> = 1..MAX_METADATA + 1;

    /// Checks sizes: those of the device, and of one copy of the journal and the first chunk.
    ///
    /// # Errors
    ///
    /// - [`Fault::Geometry`] if they do not fit.
    pub fn new(blocks: u64, journal: u64, metadata: u64) -> Result<Self, Fault> {
        let geometry = Self {
            blocks,
            journal,
            metadata,
        };

        let is_sane = blocks <= Self::MAX_BLOCKS
            && Self::JOURNAL_BLOCKS.contains(&journal)
            && journal % SLOTS == 0
            && Self::METADATA_BLOCKS.contains(&metadata);

        // INVARIANT: The data lies between the copies, as `data()` is not empty.
        if is_sane && !geometry.data().is_empty() {
            Ok(geometry)
        } else {
            Err(Fault::Geometry)
        }
    }

    /// The sizes for a device of `blocks` blocks, if nobody wishes otherwise.
    ///
    /// # Errors
    ///
    /// - [`Fault::Geometry`] if the device is too small or too big.
    pub fn of_device(blocks: u64) -> Result<Self, Fault> {
        Self::new(blocks, 64, (blocks / UNITS).clamp(16, 64))
    }

    /// Number of blocks of the device.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Number of blocks of one copy of the journal.
    pub fn journal_blocks(&self) -> u64 {
        self.journal
    }

    /// Number of blocks of one copy of the first chunk of the metadata.
    pub fn metadata_blocks(&self) -> u64 {
        self.metadata
    }

    /// The sizes of the filesystem on a device of `blocks` blocks, which is longer now. The new
    /// second copies lie behind the old ones: these are there until the others are.
    ///
    /// # Errors
    ///
    /// - [`Fault::Geometry`] if it is not longer by [`copy_blocks()`](Self::copy_blocks), or too
    ///   long.
    pub fn grown(&self, blocks: u64) -> Result<Self, Fault> {
        match blocks.checked_sub(self.blocks) {
            Some(more) if more >= self.copy_blocks() => {
                Self::new(blocks, self.journal, self.metadata)
            }
            _ => Err(Fault::Geometry),
        }
    }

    /// The blocks at either end that hold a copy of everything. It grows by as many at least.
    pub fn copy_blocks(&self) -> u64 {
        1_u64
            .saturating_add(self.journal)
            .saturating_add(self.metadata)
    }

    /// The blocks for data.
    pub fn data(&self) -> Range<u64> {
        let start = self.copy_blocks().saturating_add(DATA_ALIGN - 1) & !(DATA_ALIGN - 1);

        start..self.blocks.saturating_sub(self.copy_blocks())
    }

    /// The block of a copy of the superblock.
    pub fn superblock(&self, copy: u64) -> u64 {
        match copy {
            0 => 0,
            _ => self.blocks.saturating_sub(1),
        }
    }

    /// The first block of a slot of a copy of the journal.
    pub fn slot(&self, copy: u64, slot: u64) -> u64 {
        let start = match copy {
            0 => 1,
            _ => self.blocks.saturating_sub(1).saturating_sub(self.journal),
        };

        start.saturating_add(slot.saturating_mul(self.journal / SLOTS))
    }

    /// The size in bytes of a slot of the journal.
    pub fn slot_size(&self) -> usize {
        // CAST: The journal is not larger than `JOURNAL_BLOCKS` allows.
        ((self.journal / SLOTS) as usize).saturating_mul(BLOCK_SIZE)
    }

    /// The first chunk of the metadata.
    pub fn first_chunk(&self) -> Chunk {
        Chunk {
            number: 0,
            copies: [
                self.journal.saturating_add(1),
                self.blocks.saturating_sub(self.copy_blocks()),
            ],
        }
    }

    /// The number of the chunk that has a metadata block.
    pub fn chunk_of(&self, block: u64) -> u64 {
        match block.checked_sub(self.metadata) {
            None => 0,
            Some(behind) => (behind / CHUNK_BLOCKS).saturating_add(1),
        }
    }

    /// The numbers of the metadata blocks of a chunk.
    pub fn chunk_blocks(&self, chunk: u64) -> Range<u64> {
        match chunk.checked_sub(1) {
            None => 0..self.metadata,
            Some(before) => {
                let start = self
                    .metadata
                    .saturating_add(before.saturating_mul(CHUNK_BLOCKS));

                start..start.saturating_add(CHUNK_BLOCKS)
            }
        }
    }

    /// The address of the last unit of a chunk, which has the record of the next one.
    pub fn link(&self, chunk: u64) -> u64 {
        let end = self.chunk_blocks(chunk).end;

        end.saturating_mul(UNITS).saturating_sub(1)
    }

    /// Whether there may be a chunk of this number: so many fit the data.
    pub fn may_have(&self, chunk: u64) -> bool {
        let data = self.data();
        let needed = chunk.saturating_mul(COPIES.saturating_mul(CHUNK_BLOCKS));

        self.chunk_blocks(chunk).end <= MAX_METADATA
            && needed <= data.end.saturating_sub(data.start)
    }

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

    /// The blocks of both copies of the superblock, the journal and the first chunk.
    pub fn copies(&self) -> [[Range<u64>; COPIES as usize]; 3] {
        let both = |starts: [u64; COPIES as usize], len: u64| {
            starts.map(|start| start..start.saturating_add(len))
        };

        [
            both([0, 1].map(|copy| self.superblock(copy)), 1),
            both([0, 1].map(|copy| self.slot(copy, 0)), self.journal),
            both(self.first_chunk().copies, self.metadata),
        ]
    }

    /// What a block of the device is for. Other chunks than the first lie in the data.
    pub fn place(&self, block: u64) -> Place {
        let [supers, journals, chunks] = self.copies();

        for (copy, ((first, journal), chunk)) in
            (0..).zip(supers.iter().zip(&journals).zip(&chunks))
        {
            if first.contains(&block) {
                return Place::Super(copy);
            }
            if journal.contains(&block) {
                return Place::Journal(copy);
            }
            if chunk.contains(&block) {
                return Place::Metadata(copy, block.saturating_sub(chunk.start));
            }
        }

        match self.data().contains(&block) {
            true => Place::Data,
            false => Place::Unused,
        }
    }
}

/// A secret of a filesystem: the key of the hash that orders names. Whoever knows it can choose
/// names that have the same hash, and make others wait.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret(pub [u8; 16]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The superblock.
///
/// Behind the header: version (`u32` at 40), 4 bytes of zeroes, number of blocks of the device (48)
/// and of a copy of the metadata (56) and the journal (64), label (72, 32 bytes, padded with
/// zeroes), secret (104, 16 bytes), features (120), UUID for mounting (128).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// UUID of the filesystem, which its blocks have in their headers.
    pub uuid: Uuid,
    /// The sizes.
    pub geometry: Geometry,
    /// What the owner calls it, padded with zeroes.
    pub label: [u8; 32],
    /// What orders names.
    pub secret: Secret,
    /// UUID that it is known by. The same as the other one, unless the owner has changed it.
    pub mount_uuid: Uuid,
}

impl Superblock {
    /// A label of these bytes, [`None`] if they are too many.
    pub fn padded_label(bytes: &[u8]) -> Option<[u8; 32]> {
        let mut label = [0; 32];

        put(&mut label, 0, bytes);
        (bytes.len() <= label.len()).then_some(label)
    }

    /// Writes the superblock to a block.
    pub fn write(&self, block: &mut Block, checksum: impl FnOnce(&[u8]) -> u32) {
        block.fill(0);
        put(block, 40, &VERSION.to_le_bytes());
        put(block, 48, &self.geometry.blocks.to_le_bytes());
        put(block, 56, &self.geometry.metadata.to_le_bytes());
        put(block, 64, &self.geometry.journal.to_le_bytes());
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

    /// Whether another one is the same but for the label and the UUID for mounting, as it is when a
    /// change of these was interrupted.
    pub fn is_same_but_named(&self, other: &Self) -> bool {
        let Self {
            label, mount_uuid, ..
        } = *other;

        Self {
            label,
            mount_uuid,
            ..*self
        } == *other
    }

    /// Whether another one is that of the same filesystem once it has grown, as it is when that was
    /// interrupted. Then the second copy of this one is still there.
    pub fn may_grow_to(&self, other: &Self) -> bool {
        let geometry = other.geometry;

        self.geometry.grown(geometry.blocks) == Ok(geometry)
            && Self { geometry, ..*self }.is_same_but_named(other)
    }

    /// Reads a superblock.
    ///
    /// # Errors
    ///
    /// - As [`Header::open()`] and [`Geometry::new()`].
    /// - [`Fault::Version`] and [`Fault::Features`] if this code cannot read the rest.
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

        let mut label = [0; 32];
        put(&mut label, 0, block.get(72..104).unwrap_or(&[]));

        let mut secret = [0; 16];
        put(&mut secret, 0, block.get(104..120).unwrap_or(&[]));

        let mut mount_uuid = [0; 16];
        put(&mut mount_uuid, 0, block.get(128..144).unwrap_or(&[]));

        Ok(Self {
            uuid: header.uuid,
            geometry: Geometry::new(u64_at(block, 48), u64_at(block, 64), u64_at(block, 56))?,
            label,
            secret: Secret(secret),
            mount_uuid,
        })
    }
}

// Metadata
// -------------------------------------------------------------------------------------------------

/// A chunk of the metadata: some blocks of it in a row, and where their copies lie.
///
/// Number 0 lies at the ends of the device. The others, of [`CHUNK_BLOCKS`], lie anywhere in the
/// data, and are found one by one: the last unit of each is the record of the one with the next
/// greater number, or zeroes.
///
/// The header of a metadata block goes on with the secret of the filesystem (16 bytes at 40), and
/// where the two copies of the chunk start, in units of [`CHUNK_BLOCKS`] (`u32` at 56 and 60, both
/// 0 in chunk 0). So a block that is whole is metadata of this filesystem at this very place:
/// nobody who writes to a file knows the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The number, in the order of the metadata blocks in it.
    pub number: u64,
    /// The first block of the device of each copy.
    pub copies: [u64; COPIES as usize],
}

impl Chunk {
    /// The blocks of the device of each copy. Not for the first chunk, which has another length.
    pub fn blocks(&self) -> [Range<u64>; COPIES as usize] {
        self.copies
            .map(|start| start..start.saturating_add(CHUNK_BLOCKS))
    }

    /// The block of the device that a copy of metadata block `number` lies in.
    pub fn place(&self, geometry: &Geometry, copy: u64, number: u64) -> u64 {
        let distance = number.saturating_sub(geometry.chunk_blocks(self.number).start);
        let [first, second] = self.copies;

        match copy {
            0 => first.saturating_add(distance),
            _ => second.saturating_add(distance),
        }
    }

    /// What the header of its blocks has behind the sequence.
    fn proof(&self, superblock: &Superblock) -> [u8; UNIT_SIZE - PROOF_AT] {
        let mut proof = [0; UNIT_SIZE - PROOF_AT];

        put(&mut proof, 0, &superblock.secret.0);
        if self.number != 0 {
            for (at, start) in [16, 20].into_iter().zip(self.copies) {
                // CAST: A device has not more than 2^36 blocks.
                put(
                    &mut proof,
                    at,
                    &((start / CHUNK_BLOCKS) as u32).to_le_bytes(),
                );
            }
        }
        proof
    }

    /// Seals metadata block `number`, which is in the chunk.
    pub fn seal(
        &self,
        superblock: &Superblock,
        number: u64,
        sequence: u64,
        block: &mut Block,
        checksum: impl FnOnce(&[u8]) -> u32,
    ) {
        put(block, PROOF_AT, &self.proof(superblock));
        Header {
            magic: Magic::Metadata,
            uuid: superblock.uuid,
            address: number,
            sequence,
        }
        .seal(block, checksum);
    }

    /// Checks that a block is metadata block `number`, which is in the chunk. Returns the
    /// transaction that has last changed it.
    ///
    /// # Errors
    ///
    /// - As [`Header::open()`], [`Fault::Foreign`] if it is of another filesystem, and
    ///   [`Fault::Address`] if it is of another chunk.
    pub fn open(
        &self,
        superblock: &Superblock,
        number: u64,
        block: &Block,
        checksum: impl FnOnce(&[u8]) -> u32,
    ) -> Result<u64, Fault> {
        let header = Header::open(block, Magic::Metadata, number, checksum)?;
        let proof = self.proof(superblock);
        let found = block.get(PROOF_AT..UNIT_SIZE).unwrap_or(&[]);

        if header.uuid != superblock.uuid || found.get(..16) != proof.get(..16) {
            return Err(Fault::Foreign);
        }
        match found == proof {
            true => Ok(header.sequence),
            false => Err(Fault::Address),
        }
    }

    /// The chunk that a block says that it is of. Whether that is true says [`open()`](Self::open).
    pub fn claimed(geometry: &Geometry, block: &Block) -> Self {
        Self {
            number: geometry.chunk_of(u64_at(block, 24)),
            copies: [56, 60].map(|at| u64::from(u32_at(block, at)).saturating_mul(CHUNK_BLOCKS)),
        }
    }

    fn read(bytes: &[u8]) -> Result<Self, Fault> {
        let chunk = Self {
            number: u64_at(bytes, 16),
            copies: [24, 32].map(|at| u64_at(bytes, at)),
        };

        chunk.is_sane().then_some(chunk).ok_or(Fault::Value)
    }

    /// Whether there can be such a chunk, which is not the first.
    pub fn is_sane(&self) -> bool {
        let [first, second] = self.copies;

        self.number != 0
            && self.number <= MAX_METADATA
            && first % CHUNK_BLOCKS == 0
            && second % CHUNK_BLOCKS == 0
            && first < second
            && second < Geometry::MAX_BLOCKS
    }

    fn write(&self, bytes: &mut [u8]) {
        put(bytes, 16, &self.number.to_le_bytes());
        for (at, start) in [24, 32].into_iter().zip(self.copies) {
            put(bytes, at, &start.to_le_bytes());
        }
    }
}

/// Where what [`Chunk::proof()`] returns is in the header of a metadata block.
const PROOF_AT: usize = 40;

// Journal
// -------------------------------------------------------------------------------------------------

/// The layout of a transaction in a slot of the journal.
///
/// The header has the number of units (`u32` at 40). The addresses of the units follow (`u64`
/// each), padded to a whole unit, and then the units themselves. The checksum covers them all.
///
/// The units include the headers of all metadata blocks that change, sealed with the change.
pub struct Transaction;

impl Transaction {
    /// The size in bytes of the header and the addresses of `count` units.
    fn head(count: usize) -> usize {
        let addresses = count.saturating_mul(8).saturating_add(UNIT_SIZE - 1);

        (addresses & !(UNIT_SIZE - 1)).saturating_add(UNIT_SIZE)
    }

    /// The size in bytes of a transaction of `count` units.
    pub fn size(count: usize) -> usize {
        Self::head(count).saturating_add(count.saturating_mul(UNIT_SIZE))
    }

    /// The number of units of the transaction in a slot, and its size; [`None`] if that is more
    /// than the slot can hold.
    pub fn count(slot: &[u8]) -> Option<(usize, usize)> {
        // CAST: A `u32` is a `usize`.
        let count = u32_at(slot, 40) as usize;
        let size = Self::size(count);

        (size <= slot.len()).then_some((count, size))
    }

    /// Says how many units there are. To be done before the slot is sealed.
    pub fn set_count(slot: &mut [u8], count: u32) {
        put(slot, 40, &count.to_le_bytes());
    }

    /// Puts unit number `index` of `count` in.
    pub fn set_unit(
        slot: &mut [u8],
        count: usize,
        index: usize,
        address: u64,
        unit: &[u8; UNIT_SIZE],
    ) {
        let at = Self::head(count).saturating_add(index.saturating_mul(UNIT_SIZE));

        put(
            slot,
            UNIT_SIZE.saturating_add(index.saturating_mul(8)),
            &address.to_le_bytes(),
        );
        put(slot, at, unit);
    }

    /// The address and contents of unit number `index` of `count`.
    pub fn unit(slot: &[u8], count: usize, index: usize) -> Option<(u64, &[u8; UNIT_SIZE])> {
        let at = Self::head(count).saturating_add(index.saturating_mul(UNIT_SIZE));
        let address = u64_at(slot, UNIT_SIZE.saturating_add(index.saturating_mul(8)));

        Some((address, slot.get(at..)?.first_chunk()?))
    }

    /// The index of the first unit of `count` that cannot be in the metadata. Such a transaction is
    /// bad, all of it.
    pub fn misplaced(slot: &[u8], count: usize) -> Option<usize> {
        (0..count).find(|index| {
            Self::unit(slot, count, *index)
                .is_none_or(|(address, _)| address / UNITS >= MAX_METADATA)
        })
    }
}

// Records
// -------------------------------------------------------------------------------------------------

/// A time: seconds since 1970 and nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Time {
    /// Seconds, negative before 1970.
    pub seconds: i64,
    /// Nanoseconds, less than a second.
    pub nanoseconds: u32,
}

/// What is known of an inode besides its contents.
///
/// | bytes | contents                                             |
/// |-------|------------------------------------------------------|
/// | 16    | mode                                                 |
/// | 20    | user                                                 |
/// | 24    | group                                                |
/// | 28    | number of links; 0 if it goes with the last who uses it |
/// | 32    | size in bytes                                        |
/// | 40    | device number (`st_rdev`)                            |
/// | 48    | the directory that a directory is in                 |
/// | 56    | access, modification, change, birth: seconds (8 each)|
/// | 88    | the same: nanoseconds (4 each)                       |
/// | 104   | generation                                           |
/// | 108   | flags                                                |
/// | 120   | change counter (8)                                   |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inode {
    /// Type and permissions, as `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of links. An inode without one goes when the last file that has it open is closed,
    /// or at the next mount.
    pub links: u32,
    /// Size in bytes of a file or a symbolic link; 0 of others.
    pub size: u64,
    /// Device number of a device file, as the kernel encodes it for 64 bits.
    pub device: u64,
    /// The directory that this directory is in; 0 if it is none.
    pub parent: u64,
    /// Time of the last access.
    pub accessed: Time,
    /// Time of the last change to the contents.
    pub modified: Time,
    /// Time of the last change to the inode.
    pub changed: Time,
    /// Time of the creation.
    pub born: Time,
    /// Tells apart those who had the same number one after the other.
    pub generation: u32,
    /// Some of [`FLAGS`](Self::FLAGS).
    pub flags: u32,
    /// Change counter: greater after each change.
    pub version: u64,
}

impl Inode {
    /// The bits of `mode` that are the type.
    pub const TYPE: u32 = 0o170_000;
    /// A directory.
    pub const DIRECTORY: u32 = 0o040_000;
    /// A regular file.
    pub const REGULAR: u32 = 0o100_000;
    /// A symbolic link.
    pub const SYMLINK: u32 = 0o120_000;

    /// The flags that there are, as `FS_IOC_GETFLAGS` has them: immutable, append only, no dump,
    /// and no time of access.
    pub const FLAGS: u32 = 0xf0;

    /// The type of the inode, in the way of `mode`.
    pub fn kind(&self) -> u32 {
        self.mode & Self::TYPE
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind() == Self::DIRECTORY
    }

    /// The inode without what means nothing for its type: a size, a device number or a parent.
    pub fn without_strays(&self) -> Self {
        Self {
            size: match self.kind() {
                Self::REGULAR | Self::SYMLINK => self.size,
                _ => 0,
            },
            device: match self.kind() {
                0o020_000 | 0o060_000 => self.device,
                _ => 0,
            },
            parent: match self.is_directory() {
                true => self.parent,
                false => 0,
            },
            ..*self
        }
    }

    fn times(&self) -> [Time; 4] {
        [self.accessed, self.modified, self.changed, self.born]
    }

    fn read(bytes: &[u8]) -> Result<Self, Fault> {
        let time = |index: usize| Time {
            // CAST: Two's complement.
            seconds: u64_at(bytes, 56 + 8 * index) as i64,
            nanoseconds: u32_at(bytes, 88 + 4 * index),
        };

        let inode = Self {
            mode: u32_at(bytes, 16),
            uid: u32_at(bytes, 20),
            gid: u32_at(bytes, 24),
            links: u32_at(bytes, 28),
            size: u64_at(bytes, 32),
            device: u64_at(bytes, 40),
            parent: u64_at(bytes, 48),
            accessed: time(0),
            modified: time(1),
            changed: time(2),
            born: time(3),
            generation: u32_at(bytes, 104),
            flags: u32_at(bytes, 108),
            version: u64_at(bytes, 120),
        };

        let is_known = matches!(
            inode.kind(),
            Self::DIRECTORY
                | Self::REGULAR
                | Self::SYMLINK
                | 0o020_000
                | 0o060_000
                | 0o010_000
                | 0o140_000
        );
        let is_sane = inode.mode <= 0o177_777
            && inode.flags & !Self::FLAGS == 0
            && inode.size <= Extent::MAX_FILE_BLOCK << BLOCK_SHIFT
            && inode
                .times()
                .iter()
                .all(|time| time.nanoseconds < 1_000_000_000);

        (is_known && is_sane).then_some(inode).ok_or(Fault::Value)
    }

    fn write(&self, bytes: &mut [u8]) {
        put(bytes, 16, &self.mode.to_le_bytes());
        put(bytes, 20, &self.uid.to_le_bytes());
        put(bytes, 24, &self.gid.to_le_bytes());
        put(bytes, 28, &self.links.to_le_bytes());
        put(bytes, 32, &self.size.to_le_bytes());
        put(bytes, 40, &self.device.to_le_bytes());
        put(bytes, 48, &self.parent.to_le_bytes());
        for (index, time) in self.times().iter().enumerate() {
            put(bytes, 56 + 8 * index, &time.seconds.to_le_bytes());
            put(bytes, 88 + 4 * index, &time.nanoseconds.to_le_bytes());
        }
        put(bytes, 104, &self.generation.to_le_bytes());
        put(bytes, 108, &self.flags.to_le_bytes());
        put(bytes, 120, &self.version.to_le_bytes());
    }
}

/// A piece of a file: blocks `block..block + count` of the device are its blocks from `file_block`
/// on. Each in blocks, `u64` at 16, 24 and 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First block of the file.
    pub file_block: u64,
    /// First block of the device.
    pub block: u64,
    /// Number of blocks, not 0.
    pub count: u64,
}

impl Extent {
    /// The first block that no file has.
    pub const MAX_FILE_BLOCK: u64 = i64::MAX as u64 >> BLOCK_SHIFT;

    /// The first block of the file behind the extent.
    pub fn file_end(&self) -> u64 {
        self.file_block.saturating_add(self.count)
    }

    /// The first block of the device behind the extent.
    pub fn end(&self) -> u64 {
        self.block.saturating_add(self.count)
    }

    fn read(bytes: &[u8]) -> Result<Self, Fault> {
        let extent = Self {
            file_block: u64_at(bytes, 16),
            block: u64_at(bytes, 24),
            count: u64_at(bytes, 32),
        };

        let is_sane = (1..=Geometry::MAX_BLOCKS).contains(&extent.count)
            && extent.file_end() <= Self::MAX_FILE_BLOCK
            && extent.end() <= Geometry::MAX_BLOCKS;

        is_sane.then_some(extent).ok_or(Fault::Value)
    }

    fn write(&self, bytes: &mut [u8]) {
        put(bytes, 16, &self.file_block.to_le_bytes());
        put(bytes, 24, &self.block.to_le_bytes());
        put(bytes, 32, &self.count.to_le_bytes());
    }
}

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
    fn size(&self) -> usize {
        match self {
            Self::Inode(_) => 2 * UNIT_SIZE,
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
                put(bytes, NAME_AT, name);
            }
            Self::Attribute { name, value } => {
                put(bytes, HEAD, name);
                put(bytes, HEAD.saturating_add(name.len()), value);
            }
            Self::Target(target) => put(bytes, HEAD, target),
            Self::Bad { block, count } => {
                put(bytes, 16, &block.to_le_bytes());
                put(bytes, 24, &count.to_le_bytes());
            }
            Self::Chunk(chunk) => chunk.write(bytes),
        }
    }
}
