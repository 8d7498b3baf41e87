// SPDX-License-Identifier: GPL-2.0

//! Block devices as sysfs shows them.

use std::ffi::OsStr;
use std::fs;
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
pub fn slaves(disk: &str) -> Vec<String> {
    let mut slaves: Vec<_> = names(&format!("/sys/class/block/{disk}/slaves"))
        .iter()
        .filter_map(|slave| disk_of(slave).ok())
        .collect();

    slaves.sort();
    slaves.dedup();
    slaves
}

/// All mapped devices.
pub fn mapped() -> Vec<String> {
    let mut disks = names("/sys/class/block");

    disks.retain(|disk| Path::new(&format!("/sys/class/block/{disk}/dm")).exists());
    disks
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

/// The names in a folder, in order; none if there is no such folder.
pub fn names(folder: &str) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(text(Some(&entry.ok()?.file_name()))))
        .collect();

    names.sort();
    names
}

fn text(name: Option<&OsStr>) -> String {
    name.unwrap_or_default().to_string_lossy().into_owned()
}
