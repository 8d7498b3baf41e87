// SPDX-License-Identifier: GPL-2.0

//! Which event was reported last.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::events::Record;

/// The last event that was reported, also before this start.
pub struct State {
    file: Option<PathBuf>,
    last: Option<Place>,
}

/// The number and the time of an event. The time is needed because the numbers begin anew when the
/// module is loaded anew.
type Place = (u64, Time);

/// Seconds and nanoseconds since 1970.
type Time = (u64, u64);

fn time_of(text: &str) -> Option<Time> {
    let (seconds, nanoseconds) = text.split_once('.')?;

    Some((seconds.parse().ok()?, nanoseconds.parse().ok()?))
}

impl State {
    /// Reads the state, if there is one.
    pub fn read(file: Option<&Path>) -> Self {
        let last = file
            .and_then(|file| fs::read_to_string(file).ok())
            .and_then(|text| {
                let (number, time) = text.trim().split_once(' ')?;

                Some((number.parse().ok()?, time_of(time)?))
            });

        Self {
            file: file.map(Path::to_path_buf),
            last,
        }
    }

    pub fn is_reported(&self, record: &Record) -> bool {
        let last = self.last;
        let this = Self::place(record);

        // In a new log the numbers are less, but the times are not.
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

        replace(file, &format!("{number} {seconds}.{nanoseconds:09}\n"))
    }
}

/// Puts a file in the place of another, whole.
pub fn replace(file: &Path, text: &str) -> Result<(), String> {
    let mut temporary = file.as_os_str().to_owned();

    temporary.push(".new");
    fs::write(&temporary, text)
        .and_then(|()| fs::rename(&temporary, file))
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => format!("{}: there is no such folder", file.display()),
            _ => format!("{}: {error}", file.display()),
        })
}
