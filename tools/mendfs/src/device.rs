// SPDX-License-Identifier: GPL-2.0

//! Devices: how they are opened, and what is known of them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::process::Command;
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{major, minor};

use crate::format::{Time, BLOCK_SIZE};

/// Size in bytes of what sysfs counts in.
const SECTOR: u64 = 512;
const SECTORS_OF_BLOCK: u64 = BLOCK_SIZE as u64 / SECTOR;
const SECTORS_OF_HUGE_PAGE: u64 = (2 << 20) / SECTOR;

/// Opens a device, or a file that holds an image. To write, it must not be in use.
///
/// A device is read and written past the page cache. That keeps several blocks together, and gives
/// none of them if one is bad; and it may have what a filesystem with DAX has overwritten since.
///
/// # Errors
///
/// - A sentence if it cannot be opened, or is no such file.
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

/// What sysfs says of a block device.
fn attribute(path: &str, name: &str) -> Option<String> {
    let number = fs::metadata(path).ok()?.rdev();
    let folder = format!("/sys/dev/block/{}:{}", major(number), minor(number));
    let value = fs::read_to_string(format!("{folder}/{name}")).ok()?;

    Some(value.trim().into())
}

/// The node of the block device of this number.
///
/// # Errors
///
/// - A sentence if there is none.
pub fn node(number: u64) -> Result<String, String> {
    let path = format!("/sys/dev/block/{}:{}/uevent", major(number), minor(number));
    let text = fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;

    text.lines()
        .find_map(|line| line.strip_prefix("DEVNAME="))
        .map(|name| format!("/dev/{name}"))
        .ok_or_else(|| format!("{path}: the device has no name"))
}

/// Why a device is not what one wants to have a filesystem on.
pub fn objections(path: &str) -> Vec<&'static str> {
    let is_device = fs::metadata(path).is_ok_and(|m| m.file_type().is_block_device());
    let number = |name| attribute(path, name).and_then(|value| value.parse::<u64>().ok());
    // A partition has its disk's.
    let dax = ["queue/dax", "../queue/dax"]
        .iter()
        .find_map(|name| attribute(path, name));
    let start = number("start").unwrap_or(0);
    let size = number("size").unwrap_or(0);
    let mut objections = Vec::new();

    if !is_device {
        return objections;
    }
    if dax.is_none_or(|value| value != "1") {
        objections.push("it has no DAX, and cannot be mounted");
    }
    if start % SECTORS_OF_BLOCK != 0 || size % SECTORS_OF_BLOCK != 0 {
        objections.push("it does not lie on whole pages, and cannot be mounted");
    } else if start % SECTORS_OF_HUGE_PAGE != 0 {
        objections.push("it does not start where a huge page does: none will map a file");
    }
    objections
}

/// What `blkid` finds on a device, as "TYPE filesystem"; [`None`] if nothing, or if there is no
/// `blkid`.
pub fn contents(path: &str) -> Option<String> {
    let output = Command::new("blkid")
        .args(["--probe", "--output", "export", "--", path])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let value = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    };

    // It says so if it finds several.
    if output.status.code() == Some(8) {
        return Some("several signatures".into());
    }
    value("TYPE")
        .map(|kind| format!("{kind} filesystem"))
        .or_else(|| value("PTTYPE").map(|kind| format!("{kind} partition table")))
}

/// The time.
pub fn now() -> Time {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();

    Time {
        seconds: since.as_secs() as i64,
        nanoseconds: since.subsec_nanos(),
    }
}

/// Bytes that nobody can guess.
///
/// # Errors
///
/// - What `/dev/urandom` fails with.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];

    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
