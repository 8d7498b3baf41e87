// SPDX-License-Identifier: GPL-2.0

//! Finds mounted filesystems: all filesystems on a device, or the filesystem that the user names.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};

use crate::bad::BadRanges;
use crate::block;
use crate::text::readable;

/// The options of XFS that name devices besides the one with the data.
pub const OTHER_DEVICES: [&str; 2] = ["logdev", "rtdev"];

/// A mounted filesystem, as /proc/self/mountinfo shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Major and minor number of the device.
    pub device: (u64, u64),
    /// The directory of the filesystem that is mounted: its root, or a directory below.
    pub top: PathBuf,
    /// The mount point.
    pub point: PathBuf,
    /// Whether the mount is read-only.
    pub is_read_only: bool,
    /// Type of the filesystem.
    pub kind: String,
    /// The device, as it was given to mount.
    pub source: PathBuf,
    /// Options of the filesystem.
    pub options: String,
}

impl Mount {
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let device = String::from_utf8(fields.nth(2)?.into()).ok()?;
        let (major, minor) = device.split_once(':')?;
        let top = unescaped(fields.next()?);
        let point = unescaped(fields.next()?);
        let options = fields.next()?;

        fields.find(|field| *field == b"-")?;
        Some(Self {
            device: (major.parse().ok()?, minor.parse().ok()?),
            top,
            point,
            is_read_only: options.split(|byte| *byte == b',').any(|o| o == b"ro"),
            kind: String::from_utf8(fields.next()?.into()).ok()?,
            source: unescaped(fields.next()?),
            options: String::from_utf8_lossy(fields.next()?).into_owned(),
        })
    }

    /// The value of an option of the filesystem. [`None`] if it does not have this option with a
    /// value.
    pub fn option(&self, name: &str) -> Option<PathBuf> {
        let value = self.options.split(',').find_map(|option| {
            let (key, value) = option.split_once('=')?;

            (key == name).then_some(value)
        });

        value.map(|value| unescaped(value.as_bytes()))
    }

    /// Whether the root of the filesystem is mounted, and not a directory below.
    fn is_whole(&self) -> bool {
        self.top == Path::new("/")
    }

    /// Checks that a search below the mount point finds all files of the filesystem.
    pub fn check_whole(&self) -> Result<(), String> {
        match self.is_whole() {
            true => Ok(()),
            false => Err(format!(
                "{}: only its directory {} is mounted: mount its root to find all files",
                readable(&self.source),
                readable(&self.top)
            )),
        }
    }

    /// Opens the mount point. [`None`] if it cannot be opened, or if a later mount hides this one.
    fn open(&self) -> Option<File> {
        let root = File::open(&self.point).ok()?;
        let number = root.metadata().ok()?.dev();

        ((major(number), minor(number)) == self.device).then_some(root)
    }
}

/// All mounts.
pub fn all() -> Result<Vec<Mount>, String> {
    let table =
        fs::read("/proc/self/mountinfo").map_err(|e| format!("/proc/self/mountinfo: {e}"))?;

    Ok(table
        .split(|byte| *byte == b'\n')
        .filter_map(Mount::parse)
        .collect())
}

/// Selects the best mount of a filesystem, and opens its mount point. If possible, this is a mount
/// of the filesystem's root, and a writable mount. It is an error if other mounts hide all of
/// `mounts`; the error calls the filesystem `name`.
pub fn best(mut mounts: Vec<Mount>, name: &str) -> Result<(Mount, File), String> {
    mounts.sort_by_key(|mount| (!mount.is_whole(), mount.is_read_only));
    mounts
        .into_iter()
        .find_map(|mount| mount.open().map(|root| (mount, root)))
        .ok_or_else(|| format!("{name}: other mounts hide all of its mount points"))
}

/// Finds the [best] mount of the filesystem that the user named by a mount point or a block device,
/// and opens its mount point.
pub fn find(target: &Path) -> Result<(Mount, File), String> {
    let mounts = all()?;
    let name = readable(target);
    let path = fs::canonicalize(target).map_err(|e| format!("{name}: {e}"))?;
    let meta = fs::metadata(&path).map_err(|e| format!("{name}: {e}"))?;
    let device = if meta.file_type().is_block_device() {
        (major(meta.rdev()), minor(meta.rdev()))
    } else {
        let number = (major(meta.dev()), minor(meta.dev()));
        let mount = mounted_at(&mounts, &path, number).ok_or_else(|| {
            format!(
                "{name}: neither a mount point nor a block device, or another mount hides it (see \
                 findmnt -T {name})"
            )
        })?;

        mount.device
    };
    let mounts: Vec<_> = mounts
        .into_iter()
        .filter(|mount| mount.device == device)
        .collect();

    if mounts.is_empty() {
        return Err(format!(
            "{name}: no mounted filesystem is on it: only a mounted one has pages in the page cache"
        ));
    }
    best(mounts, &name)
}

/// The mount at a path. `device` is the device of the file at the path: if a mount has another
/// device, a later mount hides it.
fn mounted_at<'a>(mounts: &'a [Mount], path: &Path, device: (u64, u64)) -> Option<&'a Mount> {
    // Files of a filesystem without a block device can have other numbers than their filesystem.
    let is_visible = |mount: &Mount| mount.device == device || mount.device.0 == 0;

    mounts
        .iter()
        .rfind(|mount| mount.point == path && is_visible(mount))
}

/// Replaces the escapes `\ooo` in a field of mountinfo by the bytes that they mean.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;

    while let Some((first, tail)) = rest.split_first() {
        let escaped = match rest {
            [b'\\', digits @ ..] => digits.get(..3).and_then(octal),
            _ => None,
        };

        bytes.push(escaped.unwrap_or(*first));
        rest = match escaped {
            Some(_) => rest.get(4..).unwrap_or_default(),
            None => tail,
        };
    }
    OsString::from_vec(bytes).into()
}

fn octal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

/// The [best] mount of each filesystem that is on a device, or on another device above it.
pub fn on(device: (u64, u64), errors: &mut Vec<String>) -> Result<Vec<(Mount, File)>, String> {
    let mut mounts: BTreeMap<_, Vec<Mount>> = BTreeMap::new();

    for mount in all()? {
        mounts.entry(mount.device).or_default().push(mount);
    }
    let mut found = Vec::new();

    for (number, mounts) in mounts {
        // A filesystem without a block device has a device number that is not in sysfs.
        if !Path::new(&block::sysfs(number)).exists() || !block::is_on(number, device)? {
            continue;
        }
        let source = mounts.first().map(|mount| readable(&mount.source));

        match best(mounts, &source.unwrap_or_default()) {
            Ok(best) => found.push(best),
            Err(error) => errors.push(error),
        }
    }
    Ok(found)
}

/// Returns a line for each mounted filesystem that uses `ranges` of a device in a way that [`on`]
/// does not find: for the log or the realtime data of XFS, or as one of several devices.
pub fn beside(device: (u64, u64), ranges: &[Range<u64>]) -> Result<BTreeSet<String>, String> {
    let mut errors = BTreeSet::new();

    for mount in all()? {
        let source = readable(&mount.source);

        for option in OTHER_DEVICES {
            let Some(path) = mount.option(option) else {
                continue;
            };
            let why = match uses(&path, device, ranges) {
                Ok(false) => continue,
                Ok(true) => {
                    "owners on its device are not looked up, only on the data device".into()
                }
                Err(error) => error,
            };

            errors.insert(format!("{source}: mount option {option}: {why}"));
        }
        // A filesystem on several devices has no device number of its own.
        if mount.device.0 == 0
            && mount.source.is_absolute()
            && uses(&mount.source, device, ranges) == Ok(true)
        {
            errors.insert(format!(
                "{source}: {} is not supported: its owners are not looked up",
                mount.kind
            ));
        }
    }
    Ok(errors)
}

/// Whether ranges of the device `below` are on the device with this path.
fn uses(path: &Path, below: (u64, u64), ranges: &[Range<u64>]) -> Result<bool, String> {
    let number = block::number_of(&path.to_string_lossy())?;
    let above = BadRanges::above(number, below, ranges)?;

    Ok(!above.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_parsed() {
        let line =
            b"36 35 259:1 /sub /mnt/a\\040b\\134\\012 ro,noatime master:1 - xfs /dev/pmem0p1 \
            rw,logdev=/dev/pmem\\0401,inode64";
        let mount = Mount::parse(line).unwrap();

        assert_eq!(mount.device, (259, 1));
        assert_eq!(mount.top, Path::new("/sub"));
        assert_eq!(mount.point, Path::new("/mnt/a b\\\n"));
        assert!(mount.is_read_only);
        assert_eq!(mount.kind, "xfs");
        assert_eq!(mount.source, Path::new("/dev/pmem0p1"));
        assert_eq!(mount.option("logdev"), Some("/dev/pmem 1".into()));
        assert_eq!(mount.option("rtdev"), None);
        assert_eq!(mount.option("inode64"), None);
    }

    #[test]
    fn a_hidden_mount_is_not_at_its_path() {
        let parse = |line: &str| Mount::parse(line.as_bytes()).unwrap();
        let mounts = [
            parse("36 35 259:1 / /mnt/x rw - xfs /dev/a rw"),
            parse("37 35 259:2 / /mnt rw - xfs /dev/b rw"),
            parse("38 35 259:3 / /mnt rw - xfs /dev/c rw"),
            parse("39 35 0:40 / /tmp rw - tmpfs none rw"),
        ];
        let at = |path: &str, device| {
            mounted_at(&mounts, Path::new(path), device).map(|mount| mount.device)
        };

        assert_eq!(at("/mnt/x", (259, 1)), Some((259, 1)));
        assert_eq!(at("/mnt/x", (259, 3)), None);
        assert_eq!(at("/mnt", (259, 3)), Some((259, 3)));
        assert_eq!(at("/mnt/y", (259, 3)), None);
        assert_eq!(at("/tmp", (0, 41)), Some((0, 40)));
    }

    #[test]
    fn an_invalid_line_is_rejected() {
        for line in [
            "",
            "36 35 259:1 / /mnt rw",
            "36 35 259 / /mnt rw - xfs a b",
            "36 35 a:b / / rw - x",
        ] {
            assert_eq!(Mount::parse(line.as_bytes()), None);
        }
    }

    #[test]
    fn an_invalid_escape_is_kept() {
        assert_eq!(unescaped(b"a\\9\\04"), Path::new("a\\9\\04"));
        assert_eq!(unescaped(b"\\777"), Path::new("\\777"));
    }
}
