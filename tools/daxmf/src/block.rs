// SPDX-License-Identifier: GPL-2.0

//! Block devices as sysfs shows them.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

/// The name of the disk that `device` is, or is a partition of: of a path, or of a name that the
/// kernel knows.
pub fn disk_of(device: &str) -> Result<String, String> {
    let path = match device.contains('/') {
        true => fs::canonicalize(device).map_err(|e| format!("{device}: {e}"))?,
        false => Path::new("/dev").join(device),
    };
    let name = path.file_name().unwrap_or_default();
    let mut sysfs = fs::canonicalize(Path::new("/sys/class/block").join(name))
        .map_err(|_| format!("{device}: not a block device"))?;

    if sysfs.join("partition").exists() {
        sysfs.pop();
    }
    Ok(text(sysfs.file_name()))
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
