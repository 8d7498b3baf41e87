// SPDX-License-Identifier: GPL-2.0

//! What a check has found.

use std::fmt;

use serde_json::{json, Value};

use crate::format::UNITS;

/// Messages that are kept. What comes behind them is only counted.
const KEPT: usize = 10_000;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// No damage: what is left after a crash, and done at the next mount.
    Note,
    /// Damage that is repaired without a loss.
    Damage,
    /// Damage with which something is lost, of the contents or of the names.
    Loss,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
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

/// The place of a record, as people find it.
pub(crate) fn place(address: u64) -> String {
    format!(
        "metadata block {}, unit {}",
        address / UNITS,
        address % UNITS
    )
}

/// How much there is of what.
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
    /// Blocks of the device for data.
    pub data_blocks: u64,
    /// How many of them files have, each counted once.
    pub used_blocks: u64,
    /// Units of the metadata.
    pub units: u64,
    /// How many of them records have.
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

/// All that a check has found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// UUID of the filesystem.
    pub uuid: [u8; 16],
    /// Its label.
    pub label: String,
    /// The first findings.
    pub findings: Vec<Finding>,
    /// Number of notes.
    pub notes: u64,
    /// Number of other findings.
    pub errors: u64,
    /// How many of these go with a loss.
    pub losses: u64,
    /// How many of these cannot be repaired.
    pub hopeless: u64,
    /// Whether the journal has changes that are not in place.
    pub is_replayed: bool,
    /// Whether the findings have been repaired on the media.
    pub is_repaired: bool,
    /// What there is.
    pub statistics: Statistics,
}

impl Report {
    /// Adds a finding that is repaired, or needs no repair.
    pub fn add(&mut self, class: Class, place: impl Into<String>, what: impl Into<String>) {
        match class {
            Class::Note => self.notes += 1,
            Class::Damage => self.errors += 1,
            Class::Loss => {
                self.errors += 1;
                self.losses += 1;
            }
        }
        if self.findings.len() < KEPT {
            self.findings.push(Finding {
                class,
                place: place.into(),
                what: what.into(),
            });
        }
    }

    /// Adds damage that cannot be repaired.
    pub fn add_hopeless(&mut self, place: impl Into<String>, what: impl Into<String>) {
        self.hopeless += 1;
        self.add(Class::Loss, place, what);
    }

    /// Number of findings that were repaired, or will be.
    pub fn repairs(&self) -> u64 {
        self.notes + self.errors - self.hopeless
    }

    /// Whether there is no damage.
    pub fn is_clean(&self) -> bool {
        self.errors == 0
    }

    /// The number of findings that were repaired.
    pub fn corrected(&self) -> u64 {
        match self.is_repaired {
            true => self.errors - self.hopeless,
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
