// SPDX-License-Identifier: GPL-2.0

//! Block devices as sysfs shows them.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use nix::sys::stat::{major, minor};

/// The name of the disk that `device` is, or is a partition of: of a path to a block device, or of
/// a name that the kernel knows.
pub fn disk_of(device: &str) -> Result<String, String> {
    let not_block = || format!("{device}: not a block device");
    let link = if device.contains('/') {
        let meta = fs::metadata(device).map_err(|e| format!("{device}: {e}"))?;

        if !meta.file_type().is_block_device() {
            return Err(not_block());
        }
        let number = meta.rdev();

        format!("/sys/dev/block/{}:{}", major(number), minor(number))
    } else {
        format!("/sys/class/block/{device}")
    };
    let mut sysfs = fs::canonicalize(link).map_err(|_| not_block())?;

    if sysfs.join("partition").exists() {
        sysfs.pop();
    }
    match sysfs.join("dev").exists() {
        true => Ok(text(sysfs.file_name())),
        false => Err(not_block()),
    }
}

/// Whether a disk has DAX.
pub fn has_dax(disk: &str) -> bool {
    fs::read_to_string(format!("/sys/class/block/{disk}/queue/dax"))
        .is_ok_and(|value| value.trim() == "1")
}

/// The disks right below a disk, in order and each once.
pub fn slaves(disk: &str) -> Result<Vec<String>, String> {
    let mut slaves: Vec<_> = names(&format!("/sys/class/block/{disk}/slaves"))?
        .iter()
        .filter_map(|slave| disk_of(slave).ok())
        .collect();

    slaves.sort();
    slaves.dedup();
    Ok(slaves)
}

/// All mapped devices.
pub fn mapped() -> Result<Vec<String>, String> {
    let mut disks = names("/sys/class/block")?;

    disks.retain(|disk| Path::new(&format!("/sys/class/block/{disk}/dm")).exists());
    Ok(disks)
}

/// What is mounted from a disk or a partition of it, as "TYPE on MOUNT-POINT".
pub fn mount_of(disk: &str) -> Option<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").ok()?;

    table.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let (kind, rest) = filesystem.split_once(' ')?;
        let source = rest.split(' ').next()?;

        (disk_of(source).ok()? == disk).then_some(())?;
        Some(format!("{kind} on {}", mount.split(' ').nth(4)?))
    })
}

/// The names in a folder, in order; none if there is no such folder, as when a device has gone. A
/// folder that cannot be read is an error: nobody knows what is in it.
pub fn names(folder: &str) -> Result<Vec<String>, String> {
    let mut names = match read_names(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        names => names.map_err(|error| format!("{folder}: {error}"))?,
    };

    names.sort();
    Ok(names)
}

fn read_names(folder: &str) -> io::Result<Vec<String>> {
    fs::read_dir(folder)?
        .map(|entry| Ok(text(Some(&entry?.file_name()))))
        .collect()
}

fn text(name: Option<&OsStr>) -> String {
    name.unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_that_cannot_be_read() {
        // A file is no folder, whoever asks.
        let error = names("/proc/self/stat").unwrap_err();

        assert!(
            error.starts_with("/proc/self/stat: Not a directory"),
            "{error}"
        );
        assert_eq!(names("/proc/self/none"), Ok(Vec::new()));
        assert_eq!(
            names("/proc/self/task").map(|names| names.is_empty()),
            Ok(false)
        );
    }
}
