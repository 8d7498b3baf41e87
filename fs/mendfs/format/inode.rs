// SPDX-License-Identifier: GPL-2.0

//! Inodes, and the extents of files.

use super::{
    bytes::{
        put,
        u32_at,
        u64_at, //
    },
    fault::Fault,
    geometry::Geometry,
    sizes::BLOCK_SHIFT, //
};

/// A time: seconds since 1970 and nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Time {
    /// Seconds, negative before 1970.
    pub seconds: i64,
    /// Nanoseconds, less than a second.
    pub nanoseconds: u32,
}

/// The attributes of an inode.
///
/// | bytes | contents                                             |
/// |-------|------------------------------------------------------|
/// | 16    | mode                                                 |
/// | 20    | user                                                 |
/// | 24    | group                                                |
/// | 28    | number of links                                      |
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
    /// User ID.
    pub uid: u32,
    /// Group ID.
    pub gid: u32,
    /// Number of links. The filesystem removes an inode without links when its last user closes it,
    /// or at the next mount.
    pub links: u32,
    /// Size in bytes of a file or of the target of a symbolic link; 0 for other types.
    pub size: u64,
    /// Device number of a device file, as `huge_encode_dev()` encodes it; 0 for other types.
    pub device: u64,
    /// The number of the parent of a directory, which for the root is its own number; 0 for other
    /// types.
    pub parent: u64,
    /// Time of the last access.
    pub accessed: Time,
    /// Time of the last change to the contents.
    pub modified: Time,
    /// Time of the last change to the inode.
    pub changed: Time,
    /// Time of the creation.
    pub created: Time,
    /// Distinguishes inodes that had the same number at different times.
    pub generation: u32,
    /// Some of [`FLAGS`](Self::FLAGS).
    pub flags: u32,
    /// Change counter: greater after each change.
    pub version: u64,
}

impl Inode {
    /// Number of units of the record of an inode.
    pub const UNITS: u64 = 2;

    /// The bits of `mode` for the type.
    pub const TYPE: u32 = 0o170_000;

    /// A directory.
    pub const DIRECTORY: u32 = 0o040_000;

    /// A regular file.
    pub const REGULAR: u32 = 0o100_000;

    /// A symbolic link.
    pub const SYMLINK: u32 = 0o120_000;

    /// The supported flags, with the bits of `FS_IOC_GETFLAGS`: immutable, append only, no dump,
    /// and no time of access.
    pub const FLAGS: u32 = 0xf0;

    /// The type of the inode, as in `mode`.
    pub fn kind(&self) -> u32 {
        self.mode & Self::TYPE
    }

    /// Whether the inode is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind() == Self::DIRECTORY
    }

    /// The inode with the size, the device number and the parent set to 0 where its type does not
    /// have them.
    pub fn normalized(&self) -> Self {
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
        [self.accessed, self.modified, self.changed, self.created]
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, Fault> {
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
            created: time(3),
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

    pub(super) fn write(&self, bytes: &mut [u8]) {
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

/// A run of a file: blocks `block..block + count` of the volume belong to blocks
/// `file_block..file_block + count` of the file. On the media, each field is a `u64`, at 16, 24 and
/// 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First block in the file.
    pub file_block: u64,
    /// First block on the volume.
    pub block: u64,
    /// Number of blocks, not 0.
    pub count: u64,
}

impl Extent {
    /// The end of the longest possible file, in blocks.
    pub const MAX_FILE_BLOCK: u64 = i64::MAX as u64 >> BLOCK_SHIFT;

    /// The first block of the file after the extent.
    pub fn file_end(&self) -> u64 {
        self.file_block.saturating_add(self.count)
    }

    /// The first block of the volume after the extent.
    pub fn end(&self) -> u64 {
        self.block.saturating_add(self.count)
    }

    /// Whether `next` begins where the extent ends, in the file and on the volume.
    pub fn is_followed_by(&self, next: &Self) -> bool {
        self.file_end() == next.file_block && self.end() == next.block
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, Fault> {
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

    pub(super) fn write(&self, bytes: &mut [u8]) {
        put(bytes, 16, &self.file_block.to_le_bytes());
        put(bytes, 24, &self.block.to_le_bytes());
        put(bytes, 32, &self.count.to_le_bytes());
    }
}
