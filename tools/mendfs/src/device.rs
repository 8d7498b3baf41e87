// SPDX-License-Identifier: GPL-2.0

//! Opens devices, and reads their properties from sysfs and `blkid`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::process::Command;
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{major, minor};

use crate::format::{Time, BLOCK_SIZE};

/// The unit of sizes in sysfs, in bytes.
const SECTOR: u64 = 512;
const SECTORS_OF_BLOCK: u64 = BLOCK_SIZE as u64 / SECTOR;
const SECTORS_OF_HUGE_PAGE: u64 = (2 << 20) / SECTOR;

/// Opens a device or an image file. A device that is opened for writing must not be in use.
///
/// A device is opened with direct I/O for two reasons. The page cache reads several blocks
/// together, and fails for all of them if one block is bad. And a filesystem with DAX does not
/// write through the page cache, so the contents of the page cache can be old.
///
/// # Errors
///
/// - A message if it cannot be opened, or is neither a block device nor a file.
pub fn open(path: &str, to_write: bool) -> Result<File, String> {
    let kind = fs::metadata(path).map_err(|e| e.to_string())?.file_type();
    let is_device = kind.is_block_device();

    if !is_device && !kind.is_file() {
        return Err("neither a block device nor a file".into());
    }

    if is_device && to_write && attribute(path, "ro").is_some_and(|value| value == "1") {
        return Err("it is read-only".into());
    }

    let flags = match (is_device, to_write) {
        (true, true) => OFlag::O_DIRECT | OFlag::O_EXCL,
        (true, false) => OFlag::O_DIRECT,
        (false, _) => OFlag::empty(),
    };

    OpenOptions::new()
        .read(true)
        .write(to_write)
        .custom_flags(flags.bits())
        .open(path)
        .map_err(describe)
}

fn describe(error: io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EBUSY) => "it is mounted, or in use by another program".into(),
        _ => error.to_string(),
    }
}

/// The attribute `name` of a block device in sysfs.
fn attribute(path: &str, name: &str) -> Option<String> {
    let number = fs::metadata(path).ok()?.rdev();
    let folder = format!("/sys/dev/block/{}:{}", major(number), minor(number));
    let value = fs::read_to_string(format!("{folder}/{name}")).ok()?;

    Some(value.trim().into())
}

/// The path in `/dev` of the block device with this number.
///
/// # Errors
///
/// - A message if sysfs has no such device, or no name for it.
pub fn node(number: u64) -> Result<String, String> {
    let path = format!("/sys/dev/block/{}:{}/uevent", major(number), minor(number));
    let text = fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;

    text.lines()
        .find_map(|line| line.strip_prefix("DEVNAME="))
        .map(|name| format!("/dev/{name}"))
        .ok_or_else(|| format!("{path}: the device has no name"))
}

/// Warnings about a device that cannot be mounted, or whose files huge pages cannot map.
pub fn warnings(path: &str) -> Vec<&'static str> {
    let is_device = fs::metadata(path).is_ok_and(|m| m.file_type().is_block_device());
    let number = |name| attribute(path, name).and_then(|value| value.parse::<u64>().ok());
    // A partition uses the queue of its disk.
    let dax = ["queue/dax", "../queue/dax"]
        .iter()
        .find_map(|name| attribute(path, name));
    let start = number("start").unwrap_or(0);
    let size = number("size").unwrap_or(0);
    let mut warnings = Vec::new();

    if !is_device {
        return warnings;
    }
    if dax.is_none_or(|value| value != "1") {
        warnings.push("it has no DAX, and cannot be mounted");
    }
    if start % SECTORS_OF_BLOCK != 0 || size % SECTORS_OF_BLOCK != 0 {
        warnings.push("its start or size is not a multiple of 4 KiB, so it cannot be mounted");
    } else if start % SECTORS_OF_HUGE_PAGE != 0 {
        warnings
            .push("it does not start at a multiple of 2 MiB, so huge pages cannot map its files");
    }
    warnings
}

/// Runs `blkid` on a device. Returns a description such as "ext4 filesystem", or [`None`] if
/// `blkid` finds nothing or is not installed.
pub fn probe(path: &str) -> Option<String> {
    let output = Command::new("blkid")
        .args(["--probe", "--output", "export", "--", path])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let value = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    };

    // The status 8 means that `blkid` finds several signatures.
    if output.status.code() == Some(8) {
        return Some("several signatures".into());
    }
    value("TYPE")
        .map(|kind| format!("{kind} filesystem"))
        .or_else(|| value("PTTYPE").map(|kind| format!("{kind} partition table")))
}

/// The current time.
pub fn now() -> Time {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();

    Time {
        seconds: since.as_secs() as i64,
        nanoseconds: since.subsec_nanos(),
    }
}

/// Random bytes that cannot be predicted.
///
/// # Errors
///
/// - The error of `/dev/urandom`.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];

    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
