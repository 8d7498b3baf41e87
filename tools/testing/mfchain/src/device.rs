// SPDX-License-Identifier: GPL-2.0

//! The device below a file, from sysfs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};

/// A persistent-memory disk and its namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Name of the whole disk: `pmem0`.
    pub disk: String,
    /// Name of the namespace: `namespace0.0`.
    pub namespace: String,
    /// Driver of the namespace.
    pub driver: String,
    /// Physical address of the first byte.
    pub start: u64,
    /// Size in bytes.
    pub size: u64,
}

/// A mounted filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filesystem {
    /// Its type.
    pub kind: String,
    /// Name of the device that it is on: `pmem0p1` or `dm-0`.
    pub device: String,
    /// Its mount point.
    pub mount_point: PathBuf,
}

fn file_name(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_str()?.into())
}

fn read_number(path: &Path) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    match text.trim().strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.trim().parse().ok(),
    }
}

/// Finds the type and mount point of filesystem `dev` (`major:minor`) in a `mountinfo` text.
fn find_mount(mountinfo: &str, dev: &str) -> Option<(String, PathBuf)> {
    mountinfo.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(2);
        if fields.next()? != dev {
            return None;
        }
        let mount_point = fields.nth(1)?.into();
        Some((filesystem.split(' ').next()?.into(), mount_point))
    })
}

impl Filesystem {
    /// Finds the filesystem of `file`.
    pub fn of_file(file: &Path) -> Result<Self, String> {
        let meta = fs::metadata(file).map_err(|e| format!("{}: {e}", file.display()))?;
        let dev = format!("{}:{}", major(meta.dev()), minor(meta.dev()));
        Self::of_number(&dev)
            .ok_or_else(|| format!("{}: its filesystem is not on a disk", file.display()))
    }

    fn of_number(dev: &str) -> Option<Self> {
        let device = fs::canonicalize(format!("/sys/dev/block/{dev}")).ok()?;
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let (kind, mount_point) = find_mount(&mountinfo, dev)?;
        Some(Self {
            kind,
            device: file_name(&device)?,
            mount_point,
        })
    }
}

impl Device {
    /// Finds the device that has this physical address.
    pub fn at(phys: u64) -> Result<Self, String> {
        fs::read_dir("/sys/bus/nd/devices")
            .map_err(|e| format!("/sys/bus/nd/devices: {e}"))?
            .filter_map(|entry| Self::of_namespace(&entry.ok()?.path()))
            .find(|device| {
                phys.checked_sub(device.start)
                    .is_some_and(|o| o < device.size)
            })
            .ok_or_else(|| format!("{phys:#x} is not in a persistent-memory disk"))
    }

    fn of_namespace(namespace: &Path) -> Option<Self> {
        let disk = fs::read_dir(namespace.join("block")).ok()?.next()?.ok()?;
        let driver = fs::canonicalize(namespace.join("driver")).ok()?;
        Some(Self {
            disk: file_name(&disk.path())?,
            namespace: file_name(namespace)?,
            driver: file_name(&driver)?,
            start: read_number(&namespace.join("resource"))?,
            size: read_number(&namespace.join("size"))?,
        })
    }

    /// Unbinds the namespace from its driver.
    pub fn unbind(&self) -> Result<(), String> {
        let path = format!("/sys/bus/nd/drivers/{}/unbind", self.driver);
        fs::write(&path, &self.namespace).map_err(|e| format!("{path}: {e}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_is_found_by_number() {
        let text = "22 1 0:21 / /tmp rw shared:1 - tmpfs none rw\n\
                    90 1 259:0 / /mnt rw,relatime - xfs /dev/pmem0 rw,dax=always\n";
        assert_eq!(
            find_mount(text, "259:0"),
            Some(("xfs".into(), "/mnt".into()))
        );
        assert_eq!(find_mount(text, "259:1"), None);
    }
}
