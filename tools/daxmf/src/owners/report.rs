// SPDX-License-Identifier: GPL-2.0

//! Prints the owners that were found, as a table or as JSON.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use cli::Unwritten;
use serde_json::{json, Value};

use crate::bad;
use crate::text::{path_as_json, readable};

/// The kind of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OwnerKind {
    /// Any file but a directory.
    File,
    Directory,
    /// The filesystem itself.
    Metadata,
    /// No owner was found.
    Unknown,
    /// The range has no owner.
    Free,
}

impl OwnerKind {
    fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Metadata => "metadata",
            Self::Unknown => "unknown",
            Self::Free => "free",
        }
    }
}

/// A process that maps a part of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    /// Its name.
    pub command: Rc<str>,
    /// The address where it maps the part.
    pub address: u64,
}

/// A range of a device, and its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub kind: OwnerKind,
    /// Bytes of the filesystem's device.
    pub device: Range<u64>,
    /// The file's inode number.
    pub inode: Option<u64>,
    /// One of the file's names.
    pub path: Option<PathBuf>,
    /// Bytes of the file.
    pub bytes: Option<Range<u64>>,
    /// More about the range. Can be empty.
    pub note: &'static str,
    pub processes: Vec<Process>,
}

impl Finding {
    /// A range that no file owns.
    pub fn of_device(kind: OwnerKind, device: Range<u64>, note: &'static str) -> Self {
        Self {
            kind,
            device,
            inode: None,
            path: None,
            bytes: None,
            note,
            processes: Vec::new(),
        }
    }

    /// A range that a file owns. The name of the file is not known yet.
    pub fn of_file(device: Range<u64>, inode: u64, bytes: Range<u64>) -> Self {
        Self {
            inode: Some(inode),
            bytes: Some(bytes),
            ..Self::of_device(OwnerKind::File, device, "")
        }
    }

    /// Merges the next range into this one if it follows with the same owner.
    fn merge(&mut self, next: &Self) -> bool {
        let end_of = |bytes: &Option<Range<u64>>| bytes.as_ref().map(|bytes| bytes.end);
        let start_of = |bytes: &Option<Range<u64>>| bytes.as_ref().map(|bytes| bytes.start);
        let follows = (self.kind, self.inode, &self.path, self.note)
            == (next.kind, next.inode, &next.path, next.note)
            && self.device.end == next.device.start
            && end_of(&self.bytes) == start_of(&next.bytes);

        if follows {
            self.device.end = next.device.end;
            if let (Some(bytes), Some(end)) = (&mut self.bytes, end_of(&next.bytes)) {
                bytes.end = end;
            }
        }
        follows
    }

    fn row(&self) -> String {
        let range = self.bytes.as_ref().unwrap_or(&self.device);
        let owner = match (&self.path, self.inode) {
            (Some(path), _) => readable(path),
            (None, Some(inode)) => format!("inode {inode}, without a name"),
            (None, None) => self.note.into(),
        };

        row(
            self.kind.name(),
            &format!("{:#x}", range.start),
            &format!("{:#x}", range.end - range.start),
            &owner,
        )
    }

    fn to_json(&self) -> Value {
        let mut value = json!({
            "kind": self.kind.name(),
            "device_offset": self.device.start,
            "length": self.device.end - self.device.start,
            "note": self.note,
        });

        if let (Some(inode), Some(bytes)) = (self.inode, &self.bytes) {
            value["inode"] = json!(inode);
            value["offset"] = json!(bytes.start);
            value["path"] = self.path.as_deref().map_or(Value::Null, path_as_json);
            value["processes"] = self
                .processes
                .iter()
                .map(|process| {
                    json!({
                        "pid": process.pid,
                        "command": &*process.command,
                        "address": process.address,
                    })
                })
                .collect();
        }
        value
    }
}

fn row(kind: &str, offset: &str, length: &str, owner: &str) -> String {
    format!("{kind:<10} {offset:>14} {length:>10}  {owner}")
}

/// Sorts the ranges by kind and name, and merges adjacent ranges of one owner.
pub fn sorted(mut all: Vec<Finding>) -> Vec<Finding> {
    all.sort_by_cached_key(|found| {
        let start = found.bytes.as_ref().map(|bytes| bytes.start);

        (
            found.kind,
            found.path.clone(),
            found.inode,
            start,
            found.device.start,
        )
    });
    all.dedup_by(|next, last| last.merge(next));
    all
}

/// The ranges on one filesystem.
pub struct OnFilesystem {
    /// Major and minor number of its device.
    pub number: (u64, u64),
    /// Its device, as it was passed to mount.
    pub device: String,
    pub mount_point: PathBuf,
    /// Its type.
    pub kind: String,
    pub found: Vec<Finding>,
}

/// The ranges on all filesystems.
pub struct Report {
    /// The device, as the user named it.
    pub device: String,
    /// The ranges whose owners were searched, in bytes of the device.
    pub ranges: Vec<Range<u64>>,
    pub filesystems: Vec<OnFilesystem>,
    /// Whether there were errors, so that other filesystems can use the ranges.
    pub has_errors: bool,
}

impl Report {
    /// Prints a table for each filesystem.
    pub fn print(&self) -> Result<(), Unwritten> {
        let length = bad::length(&self.ranges);

        if self.ranges.is_empty() {
            return cli::print(format_args!("{}: no bad ranges", self.device));
        }
        cli::print(format_args!("{}: {length} bytes", self.device))?;
        if self.filesystems.is_empty() {
            return cli::print(match self.has_errors {
                true => "the owners could not be looked up: see the errors",
                false => "no mounted filesystem uses the bad ranges",
            });
        }
        for filesystem in &self.filesystems {
            filesystem.print()?;
        }
        Ok(())
    }

    /// The report as JSON.
    pub fn to_json(&self) -> Value {
        let ranges: Value = self
            .ranges
            .iter()
            .map(|range| json!({"offset": range.start, "length": range.end - range.start}))
            .collect();
        let filesystems: Value = self
            .filesystems
            .iter()
            .map(|filesystem| {
                json!({
                    "device": filesystem.device,
                    "mount_point": path_as_json(&filesystem.mount_point),
                    "filesystem": filesystem.kind,
                    "owners": filesystem.found.iter().map(Finding::to_json).collect::<Vec<_>>(),
                })
            })
            .collect();

        json!({"device": self.device, "ranges": ranges, "filesystems": filesystems})
    }
}

impl OnFilesystem {
    fn print(&self) -> Result<(), Unwritten> {
        cli::print(format_args!(
            "\n{} ({} on {})",
            self.device,
            self.kind,
            readable(&self.mount_point)
        ))?;
        cli::print(row("KIND", "OFFSET", "LENGTH", "OWNER"))?;
        for found in &self.found {
            cli::print(found.row())?;
            for process in &found.processes {
                let command = readable(Path::new(&*process.command));

                cli::print(format_args!(
                    "{:37}  mapped by {} ({command}) at {:#x}",
                    "", process.pid, process.address
                ))?;
            }
        }
        Ok(())
    }
}
