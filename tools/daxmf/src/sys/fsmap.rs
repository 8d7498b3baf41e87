// SPDX-License-Identifier: GPL-2.0

//! The reverse map of a filesystem: `FS_IOC_GETFSMAP`.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;

use super::device_number::encoded;

/// A record of `FS_IOC_GETFSMAP`: `struct fsmap` of linux/fsmap.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct FsMapRecord {
    /// Number of the device.
    pub device: u32,
    /// `FMR_OF_*`.
    pub flags: u32,
    /// Offset on the device, in bytes.
    pub physical: u64,
    /// Inode number, or a special owner.
    pub owner: u64,
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
    /// Zero.
    pub reserved: [u64; 3],
}

/// The flag of the last record.
const FMR_OF_LAST: u32 = 0x20;

/// Number of records that one call of `FS_IOC_GETFSMAP` returns, at most.
const FSMAP_RECORDS: usize = 128;

/// `struct fsmap_head` with room for records.
#[repr(C)]
pub struct FsMapQuery {
    in_flags: u32,
    out_flags: u32,
    count: u32,
    entries: u32,
    reserved: [u64; 6],
    keys: [FsMapRecord; 2],
    pub(super) records: [FsMapRecord; FSMAP_RECORDS],
}

mod ioctls {
    use nix::request_code_readwrite;

    use super::FsMapQuery;

    // The number of the ioctl encodes the size of the structure without its array: 192 bytes.
    nix::ioctl_readwrite_bad!(getfsmap, request_code_readwrite!(b'X', 59, 192), FsMapQuery);
}

/// The records of a range of a filesystem's device, sorted by their offset on it. The first and the
/// last record can extend beyond the range.
///
/// # Errors
///
/// - `EOPNOTSUPP` or `ENOTTY`: the filesystem does not have the call.
pub fn fsmap(
    root: &File,
    (major, minor): (u64, u64),
    range: &Range<u64>,
) -> io::Result<Vec<FsMapRecord>> {
    let device = encoded(major, minor);
    let mut all = Vec::new();
    let mut query = FsMapQuery {
        in_flags: 0,
        out_flags: 0,
        count: FSMAP_RECORDS as u32,
        entries: 0,
        reserved: [0; 6],
        keys: [
            FsMapRecord {
                device,
                physical: range.start,
                ..FsMapRecord::default()
            },
            FsMapRecord {
                device,
                flags: u32::MAX,
                physical: range.end - 1,
                owner: u64::MAX,
                offset: u64::MAX,
                ..FsMapRecord::default()
            },
        ],
        records: [FsMapRecord::default(); FSMAP_RECORDS],
    };

    loop {
        // SAFETY: FS_IOC_GETFSMAP writes at most `count` records, and `records` has room for
        // `count`.
        unsafe { ioctls::getfsmap(root.as_raw_fd(), &mut query) }?;
        let found = query.records.iter().take(query.entries as usize);

        all.extend(found.clone());
        match found.last() {
            Some(last) if last.flags & FMR_OF_LAST == 0 => query.keys[0] = *last,
            _ => return Ok(all),
        }
    }
}
