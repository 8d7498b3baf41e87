// SPDX-License-Identifier: GPL-2.0

//! The owners of a range of a device, by the reverse map of its filesystem.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;

use crate::bad::intersection;
use crate::files::Filesystem;
use crate::sys::fsmap::{fsmap, FsMapRecord};
use crate::text::readable;

/// `FMR_OF_*` of linux/fsmap.h.
const PREALLOCATED: u32 = 0x1;
const ATTRIBUTE_FORK: u32 = 0x2;
const EXTENT_MAP: u32 = 0x4;
const SPECIAL: u32 = 0x10;

/// The owner of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// No owner. The string says why the range is free.
    Free(&'static str),
    /// The filesystem itself. The string is the kind of metadata.
    Metadata(&'static str),
    /// A file or directory.
    File {
        /// Its inode number.
        inode: u64,
        /// Offset of the range in the file, in bytes.
        offset: u64,
    },
    /// The reverse map does not name the owner.
    Unknown,
}

/// The owners of a range of the device of a filesystem. Each part of the range has one owner, or
/// several that share it.
///
/// If the reverse map cannot be read, the owner is unknown, and `errors` gets a line.
pub fn owners(
    filesystem: &Filesystem,
    range: &Range<u64>,
    errors: &mut BTreeSet<String>,
) -> Vec<(Range<u64>, Owner)> {
    let Filesystem { mount, root, .. } = filesystem;

    match fsmap(root, mount.device, range) {
        Ok(records) => clipped(&records, range),
        Err(error) => {
            errors.extend(describe(&error, &readable(&mount.source), range));
            vec![(range.clone(), Owner::Unknown)]
        }
    }
}

/// Describes why the reverse map of a range cannot be read. [`None`] if the filesystem has no
/// reverse map: then a search of all files is no failure.
fn describe(error: &io::Error, device: &str, range: &Range<u64>) -> Option<String> {
    if let Some(libc::ENOTTY | libc::EOPNOTSUPP) = error.raw_os_error() {
        return None;
    }
    Some(format!(
        "{device}: {:#x} bytes at {:#x}: FS_IOC_GETFSMAP: {error}: searched all files for the \
         owner; check the filesystem",
        range.end - range.start,
        range.start
    ))
}

/// Clips the owners in `records` to a range. If the end of the range has no record, this end is
/// after the end of the filesystem.
fn clipped(records: &[FsMapRecord], range: &Range<u64>) -> Vec<(Range<u64>, Owner)> {
    let mut owners = Vec::new();
    let mut at = range.start;

    for record in records {
        let all = record.physical..record.physical.saturating_add(record.length);

        if let Some(gap) = intersection(&(at..record.physical), range) {
            owners.push((gap, Owner::Unknown));
        }
        if let Some(part) = intersection(&all, range) {
            let owner = owner(record, part.start - record.physical);

            owners.push((part, owner));
        }
        at = at.max(all.end);
    }
    if at < range.end {
        owners.push((
            at..range.end,
            Owner::Free("after the end of the filesystem"),
        ));
    }
    owners
}

/// The owner in a record, for the part that starts `skipped` bytes after the start of the record.
fn owner(record: &FsMapRecord, skipped: u64) -> Owner {
    if record.flags & SPECIAL != 0 {
        special(record.owner)
    } else if record.flags & ATTRIBUTE_FORK != 0 {
        Owner::Metadata("extended attributes")
    } else if record.flags & EXTENT_MAP != 0 {
        Owner::Metadata("extent map of a file")
    } else if record.flags & PREALLOCATED != 0 {
        Owner::Free("preallocated for a file, not written")
    } else {
        Owner::File {
            inode: record.owner,
            offset: record.offset.saturating_add(skipped),
        }
    }
}

/// The owner for one of `FMR_OWN_*`, `XFS_FMR_OWN_*` and `EXT4_FMR_OWN_*`. Such a number has a type
/// in the upper 32 bits, and a code in the lower 32 bits.
fn special(owner: u64) -> Owner {
    const XFS: u64 = (b'X' as u64) << 32;
    const EXT4: u64 = (b'f' as u64) << 32;
    const XFS_CODES: [&str; 6] = [
        "superblock",
        "log",
        "free space",
        "inode trees",
        "inodes",
        "reference counts",
    ];
    const EXT4_CODES: [&str; 4] = [
        "group descriptors",
        "reserved for group descriptors",
        "block bitmap",
        "inode bitmap",
    ];
    let code = |kind: u64| usize::try_from(owner.checked_sub(kind + 1)?).ok();

    match owner {
        1 => Owner::Free("free space"),
        2 => Owner::Unknown,
        3 => Owner::Metadata("metadata"),
        _ if owner == XFS + 7 => Owner::Free("staged for copy-on-write"),
        _ if owner == XFS + 8 => Owner::Free("known as bad"),
        _ => Owner::Metadata(
            [(EXT4, &EXT4_CODES[..]), (XFS, &XFS_CODES[..])]
                .into_iter()
                .find_map(|(kind, codes)| codes.get(code(kind)?))
                .unwrap_or(&"metadata"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(physical: u64, length: u64, flags: u32, owner: u64, offset: u64) -> FsMapRecord {
        FsMapRecord {
            physical,
            length,
            flags,
            owner,
            offset,
            ..FsMapRecord::default()
        }
    }

    #[test]
    fn owners_share_a_range() {
        let records = [
            record(0, 8192, 0, 131, 40960),
            record(4096, 4096, 0, 132, 0),
            record(8192, 4096, SPECIAL, 1, 0),
        ];

        assert_eq!(
            clipped(&records, &(4608..8200)),
            [
                (
                    4608..8192,
                    Owner::File {
                        inode: 131,
                        offset: 45568
                    }
                ),
                (
                    4608..8192,
                    Owner::File {
                        inode: 132,
                        offset: 512
                    }
                ),
                (8192..8200, Owner::Free("free space")),
            ]
        );
    }

    #[test]
    fn gaps_are_unknown_and_the_end_is_free() {
        let records = [
            record(4096, 4096, SPECIAL, 3, 0),
            record(12288, 4096, 0, 131, 0),
        ];

        assert_eq!(
            clipped(&records, &(0..20480)),
            [
                (0..4096, Owner::Unknown),
                (4096..8192, Owner::Metadata("metadata")),
                (8192..12288, Owner::Unknown),
                (
                    12288..16384,
                    Owner::File {
                        inode: 131,
                        offset: 0
                    }
                ),
                (16384..20480, Owner::Free("after the end of the filesystem")),
            ]
        );
        assert_eq!(
            clipped(&[], &(0..512)),
            [(0..512, Owner::Free("after the end of the filesystem"))]
        );
    }

    #[test]
    fn a_range_that_cannot_be_read_is_named() {
        let line = |errno| {
            let error = io::Error::from_raw_os_error(errno);

            describe(&error, "/dev/pmem0", &(0x2000..0x3000))
        };

        assert_eq!(
            line(libc::EIO).as_deref(),
            Some(
                "/dev/pmem0: 0x1000 bytes at 0x2000: FS_IOC_GETFSMAP: Input/output error (os error \
                 5): searched all files for the owner; check the filesystem"
            )
        );
        assert_eq!(line(libc::ENOTTY), None);
        assert_eq!(line(libc::EOPNOTSUPP), None);
    }

    #[test]
    fn special_owners_have_names() {
        let xfs = |code| special((u64::from(b'X') << 32) | code);
        let ext4 = |code| special((u64::from(b'f') << 32) | code);

        assert_eq!(xfs(1), Owner::Metadata("superblock"));
        assert_eq!(xfs(6), Owner::Metadata("reference counts"));
        assert_eq!(xfs(7), Owner::Free("staged for copy-on-write"));
        assert_eq!(xfs(9), Owner::Metadata("metadata"));
        assert_eq!(ext4(1), Owner::Metadata("group descriptors"));
        assert_eq!(ext4(4), Owner::Metadata("inode bitmap"));
        assert_eq!(ext4(5), Owner::Metadata("metadata"));
        assert_eq!(special(0), Owner::Metadata("metadata"));
        assert_eq!(special(u64::MAX), Owner::Metadata("metadata"));
    }

    #[test]
    fn parts_of_files_without_data() {
        assert_eq!(
            owner(&record(0, 1, ATTRIBUTE_FORK, 9, 0), 0),
            Owner::Metadata("extended attributes")
        );
        assert_eq!(
            owner(&record(0, 1, EXTENT_MAP, 9, 0), 0),
            Owner::Metadata("extent map of a file")
        );
        assert_eq!(
            owner(&record(0, 1, PREALLOCATED, 9, 0), 0),
            Owner::Free("preallocated for a file, not written")
        );
    }
}
