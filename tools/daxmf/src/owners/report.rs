// SPDX-License-Identifier: GPL-2.0

//! The owners that were found, as a table and as JSON.

use std::ops::Range;
use std::path::{Path, PathBuf};

use cli::Unwritten;
use serde_json::{json, Value};

use crate::bad;
use crate::text::{path_as_json, readable};

/// What has a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// A file that is no directory.
    File,
    Directory,
    /// The filesystem itself.
    Metadata,
    /// Nobody could be found.
    Unknown,
    /// Nobody has it.
    Free,
}

impl What {
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

/// A process that has a part of a file mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    /// What it calls itself.
    pub command: String,
    /// Where the part is in its memory.
    pub address: u64,
}

/// A range of a device, and who has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub what: What,
    /// Bytes of the filesystem's device.
    pub device: Range<u64>,
    /// The file's inode number.
    pub inode: Option<u64>,
    /// One of the file's names.
    pub path: Option<PathBuf>,
    /// Bytes of the file.
    pub bytes: Option<Range<u64>>,
    /// More about it, or nothing.
    pub note: &'static str,
    pub processes: Vec<Process>,
}

impl Found {
    /// A range that no file has.
    pub fn of_device(what: What, device: Range<u64>, note: &'static str) -> Self {
        Self {
            what,
            device,
            inode: None,
            path: None,
            bytes: None,
            note,
            processes: Vec::new(),
        }
    }

    /// A range that a file has, which has no name yet.
    pub fn of_file(device: Range<u64>, inode: u64, bytes: Range<u64>) -> Self {
        Self {
            inode: Some(inode),
            bytes: Some(bytes),
            ..Self::of_device(What::File, device, "")
        }
    }

    /// Takes the next range in, if both are one.
    fn absorb(&mut self, next: &Self) -> bool {
        let end_of = |bytes: &Option<Range<u64>>| bytes.as_ref().map(|bytes| bytes.end);
        let start_of = |bytes: &Option<Range<u64>>| bytes.as_ref().map(|bytes| bytes.start);
        let follows = (self.what, self.inode, &self.path, self.note)
            == (next.what, next.inode, &next.path, next.note)
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
            self.what.name(),
            &format!("{:#x}", range.start),
            &format!("{:#x}", range.end - range.start),
            &owner,
        )
    }

    fn to_json(&self) -> Value {
        let mut value = json!({
            "kind": self.what.name(),
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
                        "command": process.command,
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

/// Puts what was found in order: files by their names, and ranges together that are one.
pub fn sorted(mut all: Vec<Found>) -> Vec<Found> {
    all.sort_by_cached_key(|found| {
        let start = found.bytes.as_ref().map(|bytes| bytes.start);

        (
            found.what,
            found.path.clone(),
            found.inode,
            start,
            found.device.start,
        )
    });
    all.dedup_by(|next, last| last.absorb(next));
    all
}

/// What was found on one filesystem.
pub struct OnFilesystem {
    /// Major and minor number of its device.
    pub number: (u64, u64),
    /// Its device, as it was given to mount.
    pub device: String,
    pub mount_point: PathBuf,
    /// Its type.
    pub kind: String,
    pub found: Vec<Found>,
}

/// All that was found.
pub struct Report {
    /// The device, as it was named.
    pub device: String,
    /// What was looked for, in bytes of it.
    pub ranges: Vec<Range<u64>>,
    pub filesystems: Vec<OnFilesystem>,
}

impl Report {
    /// Writes it to standard output, as a table for each filesystem.
    pub fn print(&self) -> Result<(), Unwritten> {
        let length = bad::length(&self.ranges);

        if self.ranges.is_empty() {
            return cli::print(format_args!("{}: nothing is bad", self.device));
        }
        cli::print(format_args!("{}: {length} bytes", self.device))?;
        if self.filesystems.is_empty() {
            return cli::print("no filesystem that is mounted has them");
        }
        for filesystem in &self.filesystems {
            filesystem.print()?;
        }
        Ok(())
    }

    /// It as JSON.
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
                    "owners": filesystem.found.iter().map(Found::to_json).collect::<Vec<_>>(),
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
                let command = readable(Path::new(&process.command));

                cli::print(format_args!(
                    "{:37}  mapped by {} ({command}) at {:#x}",
                    "", process.pid, process.address
                ))?;
            }
        }
        Ok(())
    }
}
