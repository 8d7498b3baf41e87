// SPDX-License-Identifier: GPL-2.0

//! The device under a file, as sysfs shows it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};

/// A persistent-memory disk, its namespace and what uses it.
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
    /// Type of the filesystem that the file is on.
    pub fs_type: String,
    /// Where that is mounted.
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

impl Device {
    /// Finds the device that `file` lives on.
    pub fn of_file(file: &Path) -> Result<Self, String> {
        let meta = fs::metadata(file).map_err(|e| format!("{}: {e}", file.display()))?;
        let dev = format!("{}:{}", major(meta.dev()), minor(meta.dev()));
        Self::of_number(&dev)
            .ok_or_else(|| format!("{}: not on a persistent-memory disk", file.display()))
    }

    fn of_number(dev: &str) -> Option<Self> {
        let mut disk = fs::canonicalize(format!("/sys/dev/block/{dev}")).ok()?;
        if disk.join("partition").exists() {
            disk.pop();
        }
        let namespace = fs::canonicalize(disk.join("device")).ok()?;
        let driver = fs::canonicalize(namespace.join("driver")).ok()?;
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let (fs_type, mount_point) = find_mount(&mountinfo, dev)?;
        Some(Self {
            disk: file_name(&disk)?,
            namespace: file_name(&namespace)?,
            driver: file_name(&driver)?,
            start: read_number(&namespace.join("resource"))?,
            size: read_number(&namespace.join("size"))?,
            fs_type,
            mount_point,
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
