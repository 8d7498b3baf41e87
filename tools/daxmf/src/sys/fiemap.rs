// SPDX-License-Identifier: GPL-2.0

//! The extents of a file on its device: `FS_IOC_FIEMAP`.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;

/// `struct fiemap_extent` of linux/fiemap.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Extent {
    /// Offset in the file, in bytes.
    pub logical: u64,
    /// Offset on the device, in bytes.
    pub physical: u64,
    /// Length in bytes.
    pub length: u64,
    /// Zero.
    pub reserved: [u64; 2],
    /// `FIEMAP_EXTENT_*`.
    pub flags: u32,
    /// Zero.
    pub reserved_too: [u32; 3],
}

/// `FIEMAP_EXTENT_UNWRITTEN`: the extent is allocated, and reads as zeroes.
pub const UNWRITTEN: u32 = 0x800;

/// Number of extents that one call of `FS_IOC_FIEMAP` returns, at most.
const EXTENTS: usize = 128;

/// `struct fiemap` with room for extents.
#[repr(C)]
pub struct FieMap {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    count: u32,
    reserved: u32,
    pub(super) extents: [Extent; EXTENTS],
}

mod ioctls {
    use nix::request_code_readwrite;

    use super::FieMap;

    // The number of the ioctl encodes the size of the structure without its array: 32 bytes.
    nix::ioctl_readwrite_bad!(fiemap, request_code_readwrite!(b'f', 11, 32), FieMap);
}

/// The extents of a range of a file. Without `FIEMAP_FLAG_SYNC`, the call does not first write back
/// data whose allocation is delayed.
pub fn extents(file: &File, range: Range<u64>) -> io::Result<Vec<Extent>> {
    let mut all = Vec::new();
    let mut start = range.start;

    while start < range.end {
        let mut map = FieMap {
            start,
            length: range.end - start,
            flags: 0,
            mapped: 0,
            count: EXTENTS as u32,
            reserved: 0,
            extents: [Extent::default(); EXTENTS],
        };

        // SAFETY: FS_IOC_FIEMAP writes at most `count` extents, and `extents` has room for `count`.
        unsafe { ioctls::fiemap(file.as_raw_fd(), &mut map) }?;
        let found = map.extents.iter().take(map.mapped as usize);

        all.extend(found.clone());
        match found.last() {
            Some(last) if map.mapped == map.count => {
                start = last.logical.saturating_add(last.length).max(start + 1);
            }
            _ => break,
        }
    }
    Ok(all)
}
