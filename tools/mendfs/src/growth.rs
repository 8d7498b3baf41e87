// SPDX-License-Identifier: GPL-2.0

//! Makes a filesystem larger that is mounted.

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

/// What `statfs()` says of mendfs.
const MAGIC: FsType = FsType(u32::from_le_bytes(*b"mend") as _);

mod ioctls {
    // ext4 has the same one, for the same.
    nix::ioctl_write_ptr!(resize, b'f', 16, u64);
}

/// A filesystem that is mounted, and may grow.
pub struct Growing {
    directory: File,
    device: String,
    of_device: u64,
    geometry: Geometry,
}

impl Growing {
    /// Takes the filesystem that a directory is in.
    ///
    /// # Errors
    ///
    /// - A sentence if it is no directory, or not on mendfs, or if its device cannot be read.
    pub fn open(directory: &Path) -> Result<Self, Box<dyn Error>> {
        let directory = File::open(directory)?;
        let metadata = directory.metadata()?;

        if !metadata.is_dir() {
            return Err("not a directory: mount the filesystem, and name where that is".into());
        }
        // Others would do it, too.
        if fstatfs(&directory)?.filesystem_type() != MAGIC {
            return Err("no mendfs is mounted here".into());
        }

        let device = device::node(metadata.dev())?;
        let (superblock, of_device) = superblock::on_device(&device)?;

        Ok(Self {
            directory,
            device,
            of_device,
            geometry: superblock.geometry,
        })
    }

    /// The sizes that it had when it was opened.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// How many blocks its device had then.
    pub fn of_device(&self) -> u64 {
        self.of_device
    }

    /// Makes it as large as so many blocks, or as its device. Returns how many that are.
    ///
    /// # Errors
    ///
    /// - A sentence with what to do.
    pub fn grow(&self, size: Option<u64>) -> Result<u64, Box<dyn Error>> {
        let blocks = check(&self.geometry, &self.device, self.of_device, size)?;

        if blocks == self.geometry.blocks() {
            return Ok(blocks);
        }

        // SAFETY: The call reads a number.
        let result = unsafe { ioctls::resize(self.directory.as_raw_fd(), &blocks) };

        match result {
            Ok(_) => Ok(blocks),
            Err(Errno::EPERM) => Err("only an administrator can make it larger".into()),
            Err(Errno::EROFS) => Err("it is mounted read-only: mount -o remount,rw".into()),
            Err(Errno::EIO) => Err(
                "it is shut down, or memory is bad that must be written: the kernel's log says \
                 which"
                    .into(),
            ),
            Err(Errno::EINVAL | Errno::ENOSPC) => {
                Err("it, or its device, has become another size meanwhile: try again".into())
            }
            Err(Errno::ENOTTY) => Err("its kernel module is too old for that".into()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Takes a size from an argument of a program: blocks of 4 KiB, or bytes with a unit. Returns
/// blocks.
///
/// # Errors
///
/// - A sentence if it is no number, too large, or not whole blocks.
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
    // It would take a sign, too.
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

/// The number of blocks that a filesystem is to have: `wanted`, or all of its device. That may be
/// as many as it has.
///
/// # Errors
///
/// - A sentence if it cannot have them.
fn check(
    geometry: &Geometry,
    device: &str,
    of_device: u64,
    wanted: Option<u64>,
) -> Result<u64, String> {
    let has = geometry.blocks();
    let blocks = wanted.unwrap_or(of_device);

    if blocks < has {
        return Err(format!(
            "it has {has} blocks of 4 KiB, and cannot become smaller"
        ));
    }
    if blocks > of_device {
        return Err(format!(
            "{device} has {of_device} blocks of 4 KiB, not {blocks}: make it larger first"
        ));
    }
    if blocks > Geometry::MAX_BLOCKS {
        return Err(format!(
            "at most {} blocks of 4 KiB are possible: name a size",
            Geometry::MAX_BLOCKS
        ));
    }
    if blocks != has && geometry.grown(blocks).is_err() {
        return Err(format!(
            "it grows by {} blocks of 4 KiB at least, not by {}",
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
    fn what_it_can_have() {
        let geometry = Geometry::new(4096, 8, 2).expect("it fits");
        let check = |of_device, wanted| check(&geometry, "pmem0", of_device, wanted).ok();

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
