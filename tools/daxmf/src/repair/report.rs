// SPDX-License-Identifier: GPL-2.0

//! Prints what a repair found and did, as a table or as JSON.

use std::ops::Range;
use std::path::PathBuf;

use cli::Unwritten;
use serde_json::{json, Value};

use crate::text::{path_as_json, readable};

/// The state of a range that is or was bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// The data is on good memory again.
    Repaired,
    /// The page cache has the data, and nothing was written (`--dry-run`).
    Repairable,
    /// The page cache does not have the data.
    Lost,
    /// The page cache has the data, but it could not be written back.
    Failed,
    /// The filesystem itself owns the range.
    Metadata,
    /// No owner was found.
    Unknown,
    /// The range holds no data.
    Free,
}

impl State {
    const ALL: [Self; 7] = [
        Self::Repaired,
        Self::Repairable,
        Self::Lost,
        Self::Failed,
        Self::Metadata,
        Self::Unknown,
        Self::Free,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Repaired => "repaired",
            Self::Repairable => "repairable",
            Self::Lost => "lost",
            Self::Failed => "failed",
            Self::Metadata => "metadata",
            Self::Unknown => "unknown",
            Self::Free => "free",
        }
    }
}

/// The file that owns a bad range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its inode number.
    pub inode: u64,
    /// One of its names, if it has any.
    pub path: Option<PathBuf>,
    /// The range, in bytes of the file.
    pub bytes: Range<u64>,
}

/// A bad range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its state.
    pub state: State,
    /// Bytes of the device.
    pub device: Range<u64>,
    /// The file that owns it, if any.
    pub owner: Option<Owner>,
    /// More about the range. Can be empty.
    pub note: String,
}

impl Owner {
    fn name(&self) -> String {
        match &self.path {
            Some(path) => readable(path),
            None => format!("inode {}", self.inode),
        }
    }
}

impl Finding {
    /// A range that no file owns.
    pub fn of_device(state: State, device: Range<u64>, note: impl Into<String>) -> Self {
        Self {
            state,
            device,
            owner: None,
            note: note.into(),
        }
    }

    /// Merges the next finding into this one if it follows with the same state and owner.
    fn merge(&mut self, next: &Self) -> bool {
        let follows = self.state == next.state
            && self.note == next.note
            && self.device.end == next.device.start
            && match (&self.owner, &next.owner) {
                (None, None) => true,
                (Some(a), Some(b)) => {
                    a.inode == b.inode && a.path == b.path && a.bytes.end == b.bytes.start
                }
                _ => false,
            };

        if follows {
            self.device.end = next.device.end;
            if let (Some(a), Some(b)) = (&mut self.owner, &next.owner) {
                a.bytes.end = b.bytes.end;
            }
        }
        follows
    }

    /// The error line for a range that could not be written back.
    pub fn failure(&self) -> String {
        match &self.owner {
            Some(owner) => format!("{}: {}", owner.name(), self.note),
            None => self.note.clone(),
        }
    }

    fn row(&self, device: &str) -> String {
        let (range, name) = match &self.owner {
            Some(owner) => (&owner.bytes, owner.name()),
            None => (&self.device, device.into()),
        };
        // The error lines have the notes of failed ranges.
        let place = match (self.note.as_str(), self.state) {
            ("", _) | (_, State::Failed) => name,
            (note, _) => format!("{name} ({note})"),
        };

        row(
            self.state.name(),
            &format!("{:#x}", range.start),
            &format!("{:#x}", range.end - range.start),
            &place,
        )
    }

    fn to_json(&self) -> Value {
        let mut value = json!({
            "state": self.state.name(),
            "device_offset": self.device.start,
            "length": self.device.end - self.device.start,
            "note": self.note,
        });

        if let Some(owner) = &self.owner {
            value["inode"] = json!(owner.inode);
            value["offset"] = json!(owner.bytes.start);
            value["path"] = owner.path.as_deref().map_or(Value::Null, path_as_json);
        }
        value
    }
}

fn row(state: &str, offset: &str, length: &str, place: &str) -> String {
    format!("{state:<10} {offset:>14} {length:>10}  {place}")
}

/// The results of a repair.
pub struct Report {
    /// The block device.
    pub device: String,
    /// Its mount point.
    pub mount_point: PathBuf,
    /// Type of the filesystem.
    pub kind: String,
    /// Whether nothing was written.
    pub is_dry: bool,
    /// The bad ranges.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Sorts the findings, and merges adjacent ones.
    pub fn sort(&mut self) {
        self.findings.sort_by_cached_key(|finding| {
            let owner = finding.owner.as_ref();

            (
                owner.is_none(),
                owner.and_then(|owner| owner.path.clone()),
                owner.map(|owner| (owner.inode, owner.bytes.start)),
                finding.device.start,
            )
        });
        self.findings.dedup_by(|next, last| last.merge(next));
    }

    /// The number of bytes in a state.
    pub fn bytes(&self, state: State) -> u64 {
        self.findings
            .iter()
            .filter(|finding| finding.state == state)
            .map(|finding| finding.device.end - finding.device.start)
            .fold(0, u64::saturating_add)
    }

    /// Prints a table and a summary.
    pub fn print(&self) -> Result<(), Unwritten> {
        if !self.findings.is_empty() {
            cli::print(row("STATE", "OFFSET", "LENGTH", "WHERE"))?;
        }
        for finding in &self.findings {
            cli::print(finding.row(&self.device))?;
        }
        cli::print(self.summary())
    }

    fn summary(&self) -> String {
        let parts: Vec<_> = State::ALL
            .into_iter()
            .map(|state| (state.name(), self.bytes(state)))
            .filter(|(_, bytes)| *bytes != 0)
            .map(|(name, bytes)| format!("{bytes} bytes {name}"))
            .collect();
        let sum = match parts.is_empty() {
            true => "no bad ranges".into(),
            false => parts.join(", "),
        };
        let Self { device, kind, .. } = self;

        format!(
            "{device} ({kind} on {}): {sum}",
            readable(&self.mount_point)
        )
    }

    /// The report as JSON.
    pub fn to_json(&self) -> Value {
        let bytes: Value = State::ALL
            .into_iter()
            .map(|state| (state.name().to_owned(), json!(self.bytes(state))))
            .collect();

        json!({
            "device": self.device,
            "mount_point": path_as_json(&self.mount_point),
            "filesystem": self.kind,
            "dry_run": self.is_dry,
            "bytes": bytes,
            "ranges": self.findings.iter().map(Finding::to_json).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(state: State, path: &str, page: u64, at: u64) -> Finding {
        Finding {
            state,
            device: at..at + 4096,
            owner: Some(Owner {
                inode: 131,
                path: Some(path.into()),
                bytes: page * 4096..(page + 1) * 4096,
            }),
            note: String::new(),
        }
    }

    fn report(findings: Vec<Finding>) -> Report {
        Report {
            device: "pmem0".into(),
            mount_point: "/mnt".into(),
            kind: "xfs".into(),
            is_dry: false,
            findings,
        }
    }

    #[test]
    fn pages_in_a_row_are_one_range() {
        let mut report = report(vec![
            page(State::Lost, "b", 9, 0),
            Finding::of_device(State::Free, 8192..8704, "free space"),
            page(State::Repaired, "a", 2, 8192),
            page(State::Lost, "a", 3, 12288),
            page(State::Repaired, "a", 1, 4096),
            page(State::Lost, "a", 4, 65536),
        ]);

        report.sort();
        let rows: Vec<_> = report.findings.iter().map(|f| f.row("pmem0")).collect();

        assert_eq!(
            rows,
            [
                "repaired           0x1000     0x2000  a",
                "lost               0x3000     0x1000  a",
                "lost               0x4000     0x1000  a",
                "lost               0x9000     0x1000  b",
                "free               0x2000      0x200  pmem0 (free space)",
            ]
        );
        assert_eq!(
            report.summary(),
            "pmem0 (xfs on /mnt): 8192 bytes repaired, 12288 bytes lost, 512 bytes free"
        );
    }

    #[test]
    fn no_bad_ranges() {
        assert_eq!(
            report(vec![]).summary(),
            "pmem0 (xfs on /mnt): no bad ranges"
        );
    }

    #[test]
    fn json_has_all_fields() {
        let mut finding = page(State::Lost, "/mnt/a", 1, 8192);

        finding.note = "why".into();
        assert_eq!(
            finding.to_json(),
            json!({
                "state": "lost", "device_offset": 8192, "length": 4096, "note": "why",
                "inode": 131, "offset": 4096, "path": "/mnt/a",
            })
        );
        finding.owner.as_mut().unwrap().path = None;
        assert_eq!(finding.to_json()["path"], Value::Null);
        let all = report(vec![finding]).to_json();

        assert_eq!(all["bytes"]["lost"], 4096);
        assert_eq!(all["bytes"]["repaired"], 0);
        assert_eq!(all["mount_point"], "/mnt");
    }
}
