// SPDX-License-Identifier: GPL-2.0

//! The record of which events were reported.

use std::fs;
use std::io::ErrorKind;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::events::Record;

use super::replace::replace;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The directory of the module in sysfs. It gets another inode number with each load of the module,
/// and the kernel uses no number twice in one boot.
const MODULE: &str = "/sys/module/daxmf";

/// The events that were reported, by this process or an earlier one.
pub struct State {
    file: Option<PathBuf>,
    /// The load of the module that the events belong to. [`None`] if it is not known.
    load: Option<String>,
    /// The number of the first event of this load that was not reported.
    next: u64,
}

impl State {
    /// Reads the state from `file`, if there is one. The state of another load of the module is
    /// ignored, because each load starts at number 0. The event log must be open, so that the
    /// module cannot be reloaded in the meantime.
    pub fn read(file: Option<&Path>) -> (Self, Vec<String>) {
        let mut state = Self {
            file: file.map(Path::to_path_buf),
            load: None,
            next: 0,
        };
        let mut errors = Vec::new();
        let Some(file) = file else {
            return (state, errors);
        };

        match load() {
            Ok(load) => {
                let text = read(file).unwrap_or_else(|error| {
                    errors.push(error);
                    None
                });

                state.next = text.and_then(|text| parse(&text, &load)).unwrap_or(0);
                state.load = Some(load);
            }
            Err(error) => errors.push(format!("{error}: cannot use {}", file.display())),
        }
        (state, errors)
    }

    /// Returns the part of a record that was not reported, or [`None`] if all of it was reported.
    pub fn unreported(&self, record: &Record) -> Option<Record> {
        let mut unreported = record.clone();

        if let Some(events) = events_of(record) {
            if events.end <= self.next {
                return None;
            }
            // Only `missed` has several events.
            if events.start < self.next {
                unreported.set_number("sequence", self.next);
                unreported.set_number("count", events.end - self.next);
            }
        }
        Some(unreported)
    }

    pub fn set_reported(&mut self, record: &Record) {
        if let Some(events) = events_of(record) {
            self.next = events.end;
        }
    }

    /// Writes the state to its file.
    pub fn write(&self) -> Result<(), String> {
        let (Some(file), Some(load)) = (&self.file, &self.load) else {
            return Ok(());
        };

        replace(file, &format!("{load} {}\n", self.next))
    }
}

/// The numbers of the events of a record. A `missed` record has the number of the first event.
fn events_of(record: &Record) -> Option<Range<u64>> {
    let first = record.number("sequence")?;
    let count = match record.is_missed() {
        true => record.number("count")?,
        false => 1,
    };

    Some(first..first.saturating_add(count))
}

/// Identifies the load of the module.
fn load() -> Result<String, String> {
    let boot = fs::read_to_string(BOOT_ID).map_err(|error| format!("{BOOT_ID}: {error}"))?;
    let module = fs::metadata(MODULE).map_err(|error| format!("{MODULE}: {error}"))?;

    Ok(format!("{} {}", boot.trim(), module.ino()))
}

fn read(file: &Path) -> Result<Option<String>, String> {
    match fs::read(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        text => text
            .map(|text| Some(String::from_utf8_lossy(&text).into_owned()))
            .map_err(|error| format!("{}: {error}", file.display())),
    }
}

/// Parses the number of the next event. [`None`] if the text is of another load, or of an earlier
/// version of this program, which wrote the time of the last event at its end.
fn parse(text: &str, load: &str) -> Option<u64> {
    let (of, next) = text.trim_end().rsplit_once(' ')?;

    (of == load).then(|| next.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The state of a process that starts while `load` is loaded.
    fn state(text: &str, load: &str) -> State {
        State {
            file: None,
            load: Some(load.into()),
            next: parse(text, load).unwrap_or(0),
        }
    }

    fn event(sequence: u64, seconds: u64) -> Record {
        Record::parse(&format!(
            "sequence={sequence} time={seconds}.000000000 event=cleared disk=pmem0"
        ))
    }

    fn missed(sequence: u64, count: u64) -> Record {
        Record::parse(&format!("sequence={sequence} event=missed count={count}"))
    }

    #[test]
    fn counts_for_its_load_only() {
        let text = "a-boot 10 7\n";

        assert_eq!(parse(text, "a-boot 10"), Some(7));
        // The module was reloaded, or the machine was booted.
        assert_eq!(parse(text, "a-boot 11"), None);
        assert_eq!(parse(text, "b-boot 10"), None);
        assert_eq!(parse("", "a-boot 10"), None);
        assert_eq!(parse("a-boot 10\n", "a-boot 10"), None);
        assert_eq!(parse("a-boot 10 x\n", "a-boot 10"), None);
    }

    #[test]
    fn the_state_of_an_earlier_version_is_ignored() {
        assert_eq!(parse("a-boot 7 12.000000034\n", "a-boot 10"), None);
        assert_eq!(parse("a-boot 7 12.000000034\n", "a-boot 7"), None);
    }

    #[test]
    fn events_are_reported_once_if_the_clock_is_set_back() {
        let mut state = state("a 1 5\n", "a 1");

        assert_eq!(state.unreported(&event(4, 900)), None);
        for (sequence, seconds) in [(5, 1000), (6, 10)] {
            let record = event(sequence, seconds);

            assert_eq!(state.unreported(&record), Some(event(sequence, seconds)));
            state.set_reported(&record);
        }
        assert_eq!(state.unreported(&event(5, 1000)), None);
        assert_eq!(state.unreported(&event(6, 10)), None);
    }

    #[test]
    fn all_events_of_a_reloaded_module_are_reported() {
        let state = state("a 1 5\n", "a 2");

        assert_eq!(state.unreported(&event(0, 10)), Some(event(0, 10)));
    }

    #[test]
    fn missed_events_are_reported_once() {
        let mut state = state("a 1 5\n", "a 1");

        assert_eq!(state.unreported(&missed(0, 5)), None);
        // The events 5 to 16 were missed. Earlier ones were reported before they were overwritten.
        assert_eq!(state.unreported(&missed(0, 17)), Some(missed(5, 12)));
        state.set_reported(&missed(0, 17));
        assert_eq!(state.unreported(&missed(0, 17)), None);
        assert_eq!(state.unreported(&event(16, 10)), None);
        assert_eq!(state.unreported(&event(17, 10)), Some(event(17, 10)));
        assert_eq!(state.unreported(&missed(17, 3)), Some(missed(17, 3)));
    }

    #[test]
    fn a_record_without_a_number_is_reported() {
        let record = Record::parse("event=new");

        assert_eq!(state("a 1 5\n", "a 1").unreported(&record), Some(record));
    }
}
