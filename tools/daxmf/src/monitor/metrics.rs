// SPDX-License-Identifier: GPL-2.0

//! Metrics for Prometheus, in the text format that node_exporter collects.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::events::Record;
use crate::status;

use super::replace::replace;

/// How long the metrics can be out of date while one event follows another.
const PERIOD: Duration = Duration::from_secs(1);

/// Numbers of events, by event, disk and outcome.
type Events = BTreeMap<[String; 3], u64>;

pub struct Metrics {
    file: PathBuf,
    events: Events,
    missed: u64,
    /// When the file was written last.
    written: Option<Instant>,
    /// The errors of the last write.
    errors: Vec<String>,
}

impl Metrics {
    pub fn new(file: &Path) -> Self {
        Self {
            file: file.into(),
            events: Events::new(),
            missed: 0,
            written: None,
            errors: Vec::new(),
        }
    }

    pub fn count(&mut self, record: &Record) {
        if let Some(count) = record.number("count") {
            self.missed = self.missed.saturating_add(count);
            return;
        }
        let labels = ["event", "disk", "outcome"].map(|name| record.get(name).unwrap_or("").into());
        let count = self.events.entry(labels).or_default();

        *count = count.saturating_add(1);
    }

    /// Whether it is time to write the file again.
    pub fn is_due(&self) -> bool {
        self.written
            .is_none_or(|written| written.elapsed() >= PERIOD)
    }

    /// Replaces the file. Returns a line for each error that the last write did not have.
    pub fn write(&mut self) -> Vec<String> {
        let mut errors = Vec::new();
        let bad = status::bad_bytes(&mut errors);

        errors.extend(replace(&self.file, &text(&self.events, self.missed, &bad)).err());
        self.written = Some(Instant::now());
        let new = errors.iter().filter(|error| !self.errors.contains(error));
        let new = new.cloned().collect();

        self.errors = errors;
        new
    }
}

fn text(events: &Events, missed: u64, bad: &[(String, u64)]) -> String {
    let mut text = String::new();
    let head = |text: &mut String, name: &str, kind: &str, help: &str| {
        // Writing to a string cannot fail.
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    };

    head(
        &mut text,
        "daxmf_events_total",
        "counter",
        "Events of memory failures.",
    );
    for ([event, disk, outcome], count) in events {
        let _ = writeln!(
            text,
            "daxmf_events_total{{event=\"{event}\",disk=\"{}\",outcome=\"{outcome}\"}} {count}",
            escaped(disk)
        );
    }
    head(
        &mut text,
        "daxmf_events_missed_total",
        "counter",
        "Events that were overwritten before they were read.",
    );
    let _ = writeln!(text, "daxmf_events_missed_total {missed}");
    head(
        &mut text,
        "daxmf_bad_bytes",
        "gauge",
        "Bytes that a disk lists as bad.",
    );
    for (disk, bytes) in bad {
        let _ = writeln!(
            text,
            "daxmf_bad_bytes{{disk=\"{}\"}} {bytes}",
            escaped(disk)
        );
    }
    text
}

/// Escapes the value of a label. Names of disks can have backslashes, because the kernel escapes
/// other characters with them.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_labels() {
        let mut metrics = Metrics::new(Path::new("/nowhere"));

        for line in [
            "event=failure disk=pmem0 outcome=delivered",
            "event=failure disk=pmem0 outcome=delivered",
            "event=cleared disk=a\\x20b",
            "event=missed count=17",
        ] {
            metrics.count(&Record::parse(line));
        }
        let text = text(&metrics.events, metrics.missed, &[("pmem0".into(), 4096)]);

        for line in [
            "daxmf_events_total{event=\"failure\",disk=\"pmem0\",outcome=\"delivered\"} 2",
            "daxmf_events_total{event=\"cleared\",disk=\"a\\\\x20b\",outcome=\"\"} 1",
            "daxmf_events_missed_total 17",
            "daxmf_bad_bytes{disk=\"pmem0\"} 4096",
        ] {
            assert!(text.lines().any(|it| it == line), "{text}");
        }
    }

    #[test]
    fn an_error_is_reported_once() {
        let mut metrics = Metrics::new(Path::new("/proc/self/none/file"));

        assert!(metrics.is_due());
        assert_eq!(
            metrics.write().last().map(String::as_str),
            Some("/proc/self/none/file: no such directory")
        );
        assert!(!metrics.is_due());
        assert_eq!(metrics.write(), Vec::<String>::new());
    }
}
