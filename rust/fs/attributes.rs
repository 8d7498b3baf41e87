// SPDX-License-Identifier: GPL-2.0

//! Attributes of inodes: what is known of them besides their contents.

use kernel::prelude::*;

use crate::bindings;

/// A time as the kernel counts it: seconds since 1970, and nanoseconds, less than a second.
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
            // CAST: The kernel keeps it below 10^9.
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

/// What is known of an inode besides its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Type and permissions, as `st_mode`.
    pub mode: u32,
    /// Owner, as in the initial user namespace.
    pub uid: u32,
    /// Group, as in the initial user namespace.
    pub gid: u32,
    /// Number of links.
    pub links: u32,
    /// Size in bytes.
    pub size: u64,
    /// Blocks of 4 KiB that the contents take up.
    pub blocks: u64,
    /// Device number of a device file, as `huge_encode_dev()` gives it.
    pub device: u64,
    /// Tells apart those who had the same number one after the other.
    pub generation: u32,
    /// Flags, see [`FLAGS`](Self::FLAGS).
    pub flags: u32,
    /// Change counter, for NFS: greater after each change of the contents or the inode.
    pub version: u64,
    /// Time of the last access.
    pub accessed: Time,
    /// Time of the last change to the contents.
    pub modified: Time,
    /// Time of the last change to the inode.
    pub changed: Time,
    /// Time of the creation.
    pub born: Time,
}

impl Attributes {
    /// The flags that an inode can have: it cannot be changed (`FS_IMMUTABLE_FL`), can only become
    /// longer (`FS_APPEND_FL`), is of no interest to backups (`FS_NODUMP_FL`), or keeps no time of
    /// access (`FS_NOATIME_FL`).
    pub const FLAGS: u32 = bindings::FS_IMMUTABLE_FL
        | bindings::FS_APPEND_FL
        | bindings::FS_NODUMP_FL
        | bindings::FS_NOATIME_FL;

    /// Whether an inode can be so.
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
