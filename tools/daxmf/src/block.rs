// SPDX-License-Identifier: GPL-2.0

//! Block devices as sysfs shows them.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use nix::sys::stat::{major, minor};

use crate::mounts::{self, Mount};
use crate::text::readable;

/// The kernel's name of a disk: of `device` itself, or of the disk that `device` is a partition of.
/// `device` is a path to a block device, or a name in the kernel.
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

/// The kernel's name of a disk, which `device` must be, and not a partition.
pub fn whole_disk(device: &str) -> Result<String, String> {
    let disk = disk_of(device)?;

    match number_of(device)? == number_of(&disk)? {
        true => Ok(disk),
        false => Err(format!(
            "{device}: this is a partition: name the disk: {disk}"
        )),
    }
}

/// The major and minor number of a block device, from a path to it or its name in the kernel.
pub fn number_of(device: &str) -> Result<(u64, u64), String> {
    if device.contains('/') {
        let meta = fs::metadata(device).map_err(|e| format!("{device}: {e}"))?;

        return match meta.file_type().is_block_device() {
            true => Ok((major(meta.rdev()), minor(meta.rdev()))),
            false => Err(format!("{device}: not a block device")),
        };
    }
    read_number(&format!("/sys/class/block/{device}"))?
        .ok_or_else(|| format!("{device}: not a block device"))
}

/// The directory of a device in sysfs.
pub fn sysfs((major, minor): (u64, u64)) -> String {
    format!("/sys/dev/block/{major}:{minor}")
}

/// Whether a directory in sysfs belongs to a disk, and not to a partition or to a device above
/// others, such as a mapped device.
pub fn is_disk(sysfs: &str) -> Result<bool, String> {
    let is_above = ["dm", "partition"]
        .iter()
        .any(|name| Path::new(&format!("{sysfs}/{name}")).exists());

    Ok(!is_above && !has_slaves(sysfs)?)
}

/// Whether a directory in sysfs belongs to a device above others, such as a mapped device or a
/// device of md or bcache.
pub fn has_slaves(sysfs: &str) -> Result<bool, String> {
    Ok(!names(&format!("{sysfs}/slaves"))?.is_empty())
}

/// The kernel's name of the device of a directory in sysfs.
pub fn name(sysfs: &str) -> String {
    match fs::canonicalize(sysfs) {
        Ok(path) => text(path.file_name()),
        Err(_) => sysfs.into(),
    }
}

/// The disk of a partition. [`None`] if the device is not a partition.
pub fn disk_of_partition(device: (u64, u64)) -> Result<Option<(u64, u64)>, String> {
    let sysfs = sysfs(device);

    match Path::new(&format!("{sysfs}/partition")).exists() {
        true => read_number(&format!("{sysfs}/..")),
        false => Ok(None),
    }
}

/// Whether `device` is the device `below`, or is above the device `below`.
pub fn is_on(device: (u64, u64), below: (u64, u64)) -> Result<bool, String> {
    if device == below {
        return Ok(true);
    }
    if let Some(disk) = disk_of_partition(device)? {
        return is_on(disk, below);
    }
    let slaves = format!("{}/slaves", sysfs(device));

    for slave in names(&slaves)? {
        if let Some(slave) = read_number(&format!("{slaves}/{slave}"))? {
            if is_on(slave, below)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Reads the device number in a directory of sysfs. [`None`] if the directory has none.
fn read_number(sysfs: &str) -> Result<Option<(u64, u64)>, String> {
    let path = format!("{sysfs}/dev");
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|error| format!("{path}: {error}"))?,
    };

    text.trim()
        .split_once(':')
        .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)))
        .map(Some)
        .ok_or_else(|| format!("{path}: '{}' is not a device number", text.trim()))
}

/// Whether a disk has DAX.
pub fn has_dax(disk: &str) -> bool {
    fs::read_to_string(format!("/sys/class/block/{disk}/queue/dax"))
        .is_ok_and(|value| value.trim() == "1")
}

/// The disks directly below a disk, sorted and without duplicates.
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

    disks.retain(|disk| is_mapped(disk));
    Ok(disks)
}

/// Whether a disk is a mapped device.
pub fn is_mapped(disk: &str) -> bool {
    Path::new(&format!("/sys/class/block/{disk}/dm")).exists()
}

/// The mapped devices directly above a disk, or above a partition of it.
pub fn above(disk: &str) -> Result<Vec<String>, String> {
    let folder = format!("/sys/block/{disk}");
    let mut above = names(&format!("{folder}/holders"))?;

    // The name of a partition begins with the name of its disk.
    for partition in names(&folder)?.iter().filter(|it| it.starts_with(disk)) {
        above.extend(names(&format!("{folder}/{partition}/holders"))?);
    }
    above.retain(|name| is_mapped(name));
    above.sort();
    above.dedup();
    Ok(above)
}

/// What is mounted from a disk or a partition of it, as "TYPE on MOUNT-POINT".
///
/// Compares device numbers, because any user who can mount FUSE chooses the source of that mount.
/// A filesystem with a device number of its own, such as btrfs, is not found.
pub fn mount_of(disk: &str) -> Result<Option<String>, String> {
    let number = number_of(disk)?;

    for mount in mounts::all()? {
        if mount.device == number || disk_of_partition(mount.device)? == Some(number) {
            return Ok(Some(description(&mount)));
        }
    }
    Ok(None)
}

/// A mount as one line of text, without control characters.
fn description(mount: &Mount) -> String {
    let kind = readable(Path::new(&mount.kind));

    format!("{kind} on {}", readable(&mount.point))
}

/// The names in a directory, sorted. A directory that does not exist has no names, because its
/// device can be removed at any time. A directory that cannot be read is an error.
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
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn a_hostile_mount_point_is_one_line() {
        let mount = Mount {
            device: (0, 1),
            top: "/".into(),
            point: OsStr::from_bytes(b"/mnt/a\x1b[2J\n\xff").into(),
            is_read_only: false,
            kind: "fuse.\x1b[2J".into(),
            source: "/dev/pmem0".into(),
            options: "rw".into(),
        };

        assert_eq!(
            description(&mount),
            "fuse.\\u{1b}[2J on /mnt/a\\u{1b}[2J\\n\\xff"
        );
    }

    #[test]
    fn a_device_number_without_a_disk_has_no_disk() {
        // Filesystems without a block device have the major number 0.
        assert_eq!(disk_of_partition((0, 1)), Ok(None));
    }

    #[test]
    fn directories_that_cannot_be_read() {
        // Reading a file as a directory fails for root, too.
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
