// SPDX-License-Identifier: GPL-2.0

//! Attributes of inodes.

use kernel::prelude::*;

use crate::bindings;

/// A time of the kernel: seconds since 1970, and nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds, negative before 1970.
    pub seconds: i64,
    /// Nanoseconds, less than a second.
    pub nanoseconds: u32,
}

impl Time {
    pub(super) const fn from_raw(time: bindings::timespec64) -> Self {
        Self {
            seconds: time.tv_sec,
            // CAST: In the kernel, `tv_nsec` is always below 10^9.
            nanoseconds: time.tv_nsec as u32,
        }
    }

    pub(super) const fn into_raw(self) -> bindings::timespec64 {
        bindings::timespec64 {
            tv_sec: self.seconds,
            tv_nsec: self.nanoseconds as c_long,
        }
    }

    /// Whether the nanoseconds are less than a second.
    const fn is_valid(self) -> bool {
        self.nanoseconds < 1_000_000_000
    }
}

/// The attributes of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Type and permissions, as in `st_mode`.
    pub mode: u32,
    /// Owner, in the initial user namespace.
    pub uid: u32,
    /// Group, in the initial user namespace.
    pub gid: u32,
    /// Number of links.
    pub links: u32,
    /// Size in bytes.
    pub size: u64,
    /// Number of blocks that are allocated to the contents, of 4096 bytes each.
    pub blocks: u64,
    /// Device number of a device file, in the format of `huge_encode_dev()`.
    pub device: u64,
    /// Generation, which distinguishes inodes that had the same number at different times.
    pub generation: u32,
    /// Flags, see [`FLAGS`](Self::FLAGS).
    pub flags: u32,
    /// Change counter, for NFS: increases with each change of the contents or the inode.
    pub version: u64,
    /// Time of the last access.
    pub accessed: Time,
    /// Time of the last change to the contents.
    pub modified: Time,
    /// Time of the last change to the inode.
    pub changed: Time,
    /// Time of the creation.
    pub created: Time,
}

impl Attributes {
    /// The flags that an inode can have: it cannot be changed (`FS_IMMUTABLE_FL`), data can only be
    /// appended (`FS_APPEND_FL`), backups skip it (`FS_NODUMP_FL`), or its time of access is not
    /// updated (`FS_NOATIME_FL`).
    pub const FLAGS: u32 = bindings::FS_IMMUTABLE_FL
        | bindings::FS_APPEND_FL
        | bindings::FS_NODUMP_FL
        | bindings::FS_NOATIME_FL;

    /// Whether these are valid attributes of an inode.
    pub(super) fn is_valid(&self) -> bool {
        let has_type = matches!(
            self.mode & bindings::S_IFMT,
            bindings::S_IFREG
                | bindings::S_IFDIR
                | bindings::S_IFLNK
                | bindings::S_IFCHR
                | bindings::S_IFBLK
                | bindings::S_IFIFO
                | bindings::S_IFSOCK
        );
        let times = [self.accessed, self.modified, self.changed];

        has_type
            && u16::try_from(self.mode).is_ok()
            && self.flags & !Self::FLAGS == 0
            && i64::try_from(self.size).is_ok()
            && times.into_iter().all(Time::is_valid)
    }
}
