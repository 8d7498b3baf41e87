// SPDX-License-Identifier: GPL-2.0

//! The record of which event was reported last.

use std::fs;
use std::path::{Path, PathBuf};

use crate::events::Record;

use super::replace::replace;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The event that was reported last, by this process or an earlier one.
pub struct State {
    file: Option<PathBuf>,
    boot: String,
    last: Option<Place>,
}

/// The number and the time of an event of this boot. The number is not enough, because the numbers
/// start at 0 again when the module is reloaded.
type Place = (u64, Time);

/// Seconds and nanoseconds since 1970.
type Time = (u64, u64);

fn time_of(text: &str) -> Option<Time> {
    let (seconds, nanoseconds) = text.split_once('.')?;

    Some((seconds.parse().ok()?, nanoseconds.parse().ok()?))
}

impl State {
    /// Reads the state from `file`, if there is one. The state of another boot is ignored: all
    /// events of this boot are newer, even if their times are not.
    pub fn read(file: Option<&Path>) -> Self {
        let boot = fs::read_to_string(BOOT_ID).unwrap_or_default();
        let boot = boot.trim();
        let last = file
            .and_then(|file| fs::read_to_string(file).ok())
            .and_then(|text| Self::parse(&text, boot));

        Self {
            file: file.map(Path::to_path_buf),
            boot: boot.into(),
            last,
        }
    }

    fn parse(text: &str, boot: &str) -> Option<Place> {
        let mut words = text.split_whitespace();

        if words.next()? != boot {
            return None;
        }
        Some((words.next()?.parse().ok()?, time_of(words.next()?)?))
    }

    pub fn is_reported(&self, record: &Record) -> bool {
        let last = self.last;
        let this = Self::place(record);

        // After a reload of the module, the numbers are lower, but the times are not.
        last.zip(this)
            .is_some_and(|(last, this)| this.0 <= last.0 && this.1 <= last.1)
    }

    pub fn set_reported(&mut self, record: &Record) {
        self.last = Self::place(record).or(self.last);
    }

    fn place(record: &Record) -> Option<Place> {
        Some((record.number("sequence")?, time_of(record.get("time")?)?))
    }

    /// Writes the state to its file.
    pub fn write(&self) -> Result<(), String> {
        let (Some(file), Some((number, (seconds, nanoseconds)))) = (&self.file, self.last) else {
            return Ok(());
        };
        let boot = &self.boot;

        replace(
            file,
            &format!("{boot} {number} {seconds}.{nanoseconds:09}\n"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_for_its_boot_only() {
        let text = "a-boot 7 12.000000034\n";

        assert_eq!(State::parse(text, "a-boot"), Some((7, (12, 34))));
        assert_eq!(State::parse(text, "b-boot"), None);
        assert_eq!(State::parse("7 12.000000034\n", "a-boot"), None);
        assert_eq!(State::parse("", "a-boot"), None);
    }
}
