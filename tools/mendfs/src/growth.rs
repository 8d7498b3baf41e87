// SPDX-License-Identifier: GPL-2.0

//! Grows a mounted filesystem.

use std::error::Error;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::statfs::{fstatfs, FsType};

use crate::device;
use crate::format::{Geometry, BLOCK_SHIFT, BLOCK_SIZE};
use crate::superblock;

/// The type of mendfs in `statfs()`.
const MAGIC: FsType = FsType(u32::from_le_bytes(*b"mend") as _);

mod ioctls {
    // `EXT4_IOC_RESIZE_FS`, which ext4 uses for the same purpose.
    nix::ioctl_write_ptr!(resize, b'f', 16, u64);
}

/// A mounted filesystem that can grow.
pub struct MountedFs {
    directory: File,
    device: String,
    device_blocks: u64,
    geometry: Geometry,
}

impl MountedFs {
    /// Opens the filesystem that contains a directory.
    ///
    /// # Errors
    ///
    /// - A message if it is not a directory, or not on mendfs, or if its device cannot be read.
    pub fn open(directory: &Path) -> Result<Self, Box<dyn Error>> {
        let directory = File::open(directory)?;
        let metadata = directory.metadata()?;

        if !metadata.is_dir() {
            return Err("not a directory: mount the filesystem and give its mount point".into());
        }
        // Without this check, the ioctl would grow an ext4 filesystem.
        if fstatfs(&directory)?.filesystem_type() != MAGIC {
            return Err("no mendfs is mounted here".into());
        }

        let device = device::node(metadata.dev())?;
        let (superblock, device_blocks) = superblock::on_device(&device)?;

        Ok(Self {
            directory,
            device,
            device_blocks,
            geometry: superblock.geometry,
        })
    }

    /// The sizes of the filesystem at the time of [`open()`](Self::open).
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Number of blocks of the device at the time of [`open()`](Self::open).
    pub fn device_blocks(&self) -> u64 {
        self.device_blocks
    }

    /// Grows the filesystem to `size` blocks, or to the size of its device. Returns the new number
    /// of blocks.
    ///
    /// # Errors
    ///
    /// - A message with the reason and what to do.
    pub fn grow(&self, size: Option<u64>) -> Result<u64, Box<dyn Error>> {
        let blocks = check(&self.geometry, &self.device, self.device_blocks, size)?;

        if blocks == self.geometry.blocks() {
            return Ok(blocks);
        }

        // SAFETY: The ioctl reads a `u64` from its argument, and `blocks` is one.
        let result = unsafe { ioctls::resize(self.directory.as_raw_fd(), &blocks) };

        match result {
            Ok(_) => Ok(blocks),
            Err(Errno::EPERM) => Err("growing needs CAP_SYS_ADMIN".into()),
            Err(Errno::EROFS) => Err("it is mounted read-only: mount -o remount,rw".into()),
            Err(Errno::EIO) => Err(
                "the filesystem is shut down, or a block that must be written is bad: see the kernel log"
                    .into(),
            ),
            Err(Errno::EINVAL | Errno::ENOSPC) => {
                Err("the size of the filesystem or of its device has changed: try again".into())
            }
            Err(Errno::ENOTTY) => Err("the module mendfs is too old to grow a filesystem".into()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Parses a size in an argument of a program: a number of blocks of 4 KiB, or a number with a unit
/// from K to T. Returns blocks.
///
/// # Errors
///
/// - A message if it is not a number, is too large, or is not a multiple of a block.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let shift = match text.chars().next_back() {
        Some('K' | 'k') => 10,
        Some('M' | 'm') => 20,
        Some('G' | 'g') => 30,
        Some('T' | 't') => 40,
        _ => BLOCK_SHIFT,
    };
    let digits = match shift {
        BLOCK_SHIFT => text,
        _ => &text[..text.len() - 1],
    };
    // `parse()` also accepts a sign.
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let bytes = digits
        .parse::<u64>()
        .ok()
        .filter(|_| is_number)
        .ok_or("not a number of blocks of 4 KiB, or of bytes with K, M, G or T")?
        .checked_mul(1 << shift)
        .ok_or("too large")?;

    match bytes % BLOCK_SIZE as u64 {
        0 => Ok(bytes >> BLOCK_SHIFT),
        _ => Err("not a multiple of 4K".into()),
    }
}

/// Returns the new number of blocks of a filesystem: `wanted`, or `device_blocks`. It can be the
/// current one.
///
/// # Errors
///
/// - A message if the filesystem cannot have this size.
fn check(
    geometry: &Geometry,
    device: &str,
    device_blocks: u64,
    wanted: Option<u64>,
) -> Result<u64, String> {
    let has = geometry.blocks();
    let blocks = wanted.unwrap_or(device_blocks);

    if blocks < has {
        return Err(format!(
            "it has {has} blocks of 4 KiB, and cannot become smaller"
        ));
    }
    if blocks > device_blocks {
        return Err(format!(
            "{device} has {device_blocks} blocks of 4 KiB, not {blocks}: make it larger first"
        ));
    }
    if blocks > Geometry::MAX_BLOCKS {
        return Err(format!(
            "at most {} blocks of 4 KiB are possible: give a size",
            Geometry::MAX_BLOCKS
        ));
    }
    if blocks != has && geometry.grown(blocks).is_err() {
        return Err(format!(
            "it must grow by {} blocks of 4 KiB at least, not by {}",
            geometry.copy_blocks(),
            blocks - has
        ));
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, blocks) in [
            ("0", Some(0)),
            ("4097", Some(4097)),
            ("4K", Some(1)),
            ("64m", Some(16384)),
            ("2G", Some(1 << 19)),
            ("1T", Some(1 << 28)),
            ("4503599627370495", Some((1 << 52) - 1)),
            ("4503599627370496", None),
            ("16777216T", None),
            ("6K", None),
            ("", None),
            ("K", None),
            ("-1", None),
            ("+1", None),
            ("1.5G", None),
            ("4KiB", None),
            ("é", None),
        ] {
            assert_eq!(parse_size(text).ok(), blocks, "{text}");
        }
    }

    #[test]
    fn new_size_is_checked() {
        let geometry = Geometry::new(4096, 8, 2).expect("it fits");
        let check = |device_blocks, wanted| check(&geometry, "pmem0", device_blocks, wanted).ok();

        assert_eq!(check(4096, None), Some(4096));
        assert_eq!(check(4106, None), None);
        assert_eq!(check(4106, Some(4096)), Some(4096));
        assert_eq!(check(4107, None), Some(4107));
        assert_eq!(check(5000, Some(4106)), None);
        assert_eq!(check(5000, Some(4107)), Some(4107));
        assert_eq!(check(5000, Some(4095)), None);
        assert_eq!(check(5000, Some(5001)), None);
        assert_eq!(check(u64::MAX, Some(Geometry::MAX_BLOCKS)), Some(1 << 36));
        assert_eq!(check(u64::MAX, None), None);
    }
}
