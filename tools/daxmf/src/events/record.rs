// SPDX-License-Identifier: GPL-2.0

//! Records of the event log: words of the form NAME=VALUE.

use std::fmt::{self, Display};

use serde_json::{json, Map, Value};

use crate::sys::local_time::LocalTime;

pub const HEAD: &str =
    "TIME                        EVENT     DEVICE             OFFSET       LENGTH  DETAILS";

/// The fields that have columns of their own. The last column has the other fields.
const COLUMNS: [&str; 6] = ["sequence", "time", "event", "disk", "offset", "length"];

/// An event: the names and values of its fields. A newer module can add fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record(Vec<(String, String)>);

impl Record {
    /// Parses a record. Ignores words that are not NAME=VALUE.
    pub fn parse(text: &str) -> Self {
        let fields = text
            .split_ascii_whitespace()
            .filter_map(|word| word.split_once('='));

        Self(
            fields
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }

    /// The names and values of all fields.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find_map(|(field, value)| (field == name).then_some(value.as_str()))
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    /// Replaces the value of a field. A record without this field stays as it is.
    pub fn set_number(&mut self, name: &str, number: u64) {
        for (field, value) in &mut self.0 {
            if field == name {
                *value = number.to_string();
            }
        }
    }

    /// Whether the record stands for events that were overwritten before they were read.
    pub fn is_missed(&self) -> bool {
        self.get("event") == Some("missed")
    }

    /// Whether the event belongs to this device, or to no device, such as `missed`.
    pub fn is_of(&self, device: &str) -> bool {
        self.get("disk").is_none_or(|disk| disk == device)
    }

    /// The record as a JSON object. Flags are an array. The time is a string, because many JSON
    /// parsers read numbers as doubles, which cannot hold its nanoseconds.
    pub fn to_json(&self) -> Value {
        let fields = self.0.iter().map(|(name, value)| {
            let value = match name.as_str() {
                "sequence" | "offset" | "length" | "errno" | "count" => {
                    value.parse::<u64>().map_or(json!(value), Value::from)
                }
                "flags" if value == "none" => json!([]),
                "flags" => value.split(',').collect(),
                _ => json!(value),
            };

            (name.clone(), value)
        });

        Value::Object(fields.collect::<Map<_, _>>())
    }

    /// The event in one line, for the journal.
    pub fn summary(&self) -> String {
        let mut summary = self.get("event").unwrap_or("event").to_string();
        let mut add = |words: String| {
            summary.push(' ');
            summary.push_str(&words);
        };

        if let Some(disk) = self.get("disk") {
            add(disk.into());
        }
        for name in ["offset", "length"] {
            if let Some(number) = self.number(name) {
                add(format!("{name} {number:#x}"));
            }
        }
        for (name, value) in self.fields().filter(|(name, _)| !COLUMNS.contains(name)) {
            add(format!("{name}={value}"));
        }
        summary
    }

    /// The local time, in microseconds.
    fn time(&self) -> Option<String> {
        let (seconds, rest) = self.get("time")?.split_once('.')?;
        let local = LocalTime::of(seconds.parse().ok()?)?;

        Some(format!("{local}.{}", rest.get(..6)?))
    }
}

impl Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = |name| {
            self.number(name)
                .map_or("-".into(), |number| format!("{number:#x}"))
        };

        write!(
            f,
            "{:<26}  {:<8}  {:<10}  {:>13}  {:>11} ",
            self.time().as_deref().unwrap_or("-"),
            self.get("event").unwrap_or("-"),
            self.get("disk").unwrap_or("-"),
            hex("offset"),
            hex("length")
        )?;
        for (name, value) in &self.0 {
            if !COLUMNS.contains(&name.as_str()) {
                write!(f, " {name}={value}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FAILURE: &str = "sequence=7 time=1700000000.000001042 event=failure disk=pmem0 \
                           offset=8192 length=4096 flags=action_required,must_kill \
                           outcome=failed errno=5\n";

    #[test]
    fn a_failure_is_an_object() {
        assert_eq!(
            Record::parse(FAILURE).to_json(),
            json!({"sequence": 7, "time": "1700000000.000001042", "event": "failure",
                   "disk": "pmem0", "offset": 8192, "length": 4096,
                   "flags": ["action_required", "must_kill"], "outcome": "failed", "errno": 5})
        );
        assert_eq!(Record::parse("flags=none").to_json(), json!({"flags": []}));
    }

    #[test]
    fn a_failure_is_a_line() {
        let line = Record::parse(FAILURE).to_string();

        // Compare without the time, because the local time depends on the time zone.
        assert_eq!(
            line.split_once(".000001  ").unwrap().1,
            "failure   pmem0              0x2000       0x1000  \
             flags=action_required,must_kill outcome=failed errno=5"
        );
    }

    #[test]
    fn missed_events_have_no_device() {
        let record = Record::parse("sequence=0 event=missed count=17\n");

        assert!(record.is_of("pmem0"));
        assert!(!Record::parse(FAILURE).is_of("pmem1"));
        assert_eq!(
            record.to_json(),
            json!({"sequence": 0, "event": "missed", "count": 17})
        );
        assert!(record.to_string().ends_with("  count=17"));
    }

    proptest! {
        #[test]
        fn any_text_is_a_line(text in ".*") {
            let record = Record::parse(&text);

            prop_assert!(!record.to_string().contains('\n'));
            prop_assert!(record.to_json().is_object());
        }
    }
}
