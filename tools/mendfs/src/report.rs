// SPDX-License-Identifier: GPL-2.0

//! The findings of a check.

use std::fmt;

use serde_json::{json, Value};

use crate::format::UNITS;

/// The number of findings that are stored, to bound the memory. Further ones are only counted.
const MAX_FINDINGS: usize = 10_000;

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Not damage: work that a crash has interrupted, and that the next mount finishes.
    Note,
    /// Damage that can be repaired without loss.
    Damage,
    /// Damage by which data or metadata is lost.
    Loss,
}

/// A deviation from the format, or a note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The severity.
    pub class: Class,
    /// The structure: "metadata block 12, unit 3".
    pub place: String,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// The place of a record, for messages.
pub(crate) fn place(address: u64) -> String {
    format!(
        "metadata block {}, unit {}",
        address / UNITS,
        address % UNITS
    )
}

/// The numbers of records, blocks and units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Number of inodes.
    pub inodes: u64,
    /// Number of directories.
    pub directories: u64,
    /// Number of names.
    pub names: u64,
    /// Number of extents.
    pub extents: u64,
    /// Number of extended attributes.
    pub attributes: u64,
    /// Number of bad ranges.
    pub bad_ranges: u64,
    /// Number of blocks for data.
    pub data_blocks: u64,
    /// Number of blocks for data that are allocated to files. A shared block counts once.
    pub used_blocks: u64,
    /// Number of units for records in one copy of the metadata.
    pub units: u64,
    /// Number of these units that contain records.
    pub used_units: u64,
}

impl Statistics {
    fn as_json(&self) -> Value {
        json!({
            "inodes": self.inodes,
            "directories": self.directories,
            "names": self.names,
            "extents": self.extents,
            "attributes": self.attributes,
            "bad_ranges": self.bad_ranges,
            "data_blocks": self.data_blocks,
            "used_blocks": self.used_blocks,
            "units": self.units,
            "used_units": self.used_units,
        })
    }
}

/// The result of a check.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// UUID of the filesystem.
    pub uuid: [u8; 16],
    /// Its label.
    pub label: String,
    /// The first 10000 findings.
    pub findings: Vec<Finding>,
    /// Number of notes.
    pub notes: u64,
    /// Number of findings that are damage, losses included.
    pub errors: u64,
    /// How many of the errors are losses.
    pub losses: u64,
    /// How many of the errors cannot be repaired.
    pub unrepairable: u64,
    /// Whether the journal had changes that were not written to the metadata.
    pub is_replayed: bool,
    /// Whether the repairs were written to the media.
    pub is_repaired: bool,
    /// The numbers of records, blocks and units.
    pub statistics: Statistics,
}

impl Report {
    /// Adds a finding that can be repaired, or needs no repair.
    pub fn add(&mut self, class: Class, place: impl Into<String>, what: impl Into<String>) {
        match class {
            Class::Note => self.notes += 1,
            Class::Damage => self.errors += 1,
            Class::Loss => {
                self.errors += 1;
                self.losses += 1;
            }
        }
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(Finding {
                class,
                place: place.into(),
                what: what.into(),
            });
        }
    }

    /// Adds damage that cannot be repaired.
    pub fn add_unrepairable(&mut self, place: impl Into<String>, what: impl Into<String>) {
        self.unrepairable += 1;
        self.add(Class::Loss, place, what);
    }

    /// Number of findings that can be repaired, notes included.
    pub fn repairs(&self) -> u64 {
        self.notes + self.errors - self.unrepairable
    }

    /// Whether there is no damage.
    pub fn is_clean(&self) -> bool {
        self.errors == 0
    }

    /// Number of errors that were repaired.
    pub fn corrected(&self) -> u64 {
        match self.is_repaired {
            true => self.errors - self.unrepairable,
            false => 0,
        }
    }

    /// The report of `device` as JSON.
    pub fn as_json(&self, device: &str) -> Value {
        let list = |is_note: bool| -> Vec<Value> {
            self.findings
                .iter()
                .filter(|finding| (finding.class == Class::Note) == is_note)
                .map(|finding| {
                    json!({
                        "place": finding.place,
                        "what": finding.what,
                        "loss": finding.class == Class::Loss,
                    })
                })
                .collect()
        };

        json!({
            "device": device,
            "uuid": uuid::Uuid::from_bytes(self.uuid).to_string(),
            "label": self.label,
            "clean": self.is_clean(),
            "errors": self.errors,
            "losses": self.losses,
            "corrected": self.corrected(),
            "journal_replayed": self.is_replayed,
            "findings": list(false),
            "notes": list(true),
            "statistics": self.statistics.as_json(),
        })
    }
}
