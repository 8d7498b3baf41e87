// SPDX-License-Identifier: GPL-2.0

//! Writes to the journal of systemd, by its native protocol (systemd.journal-fields(7)).

use std::fmt::Write;
use std::os::unix::net::UnixDatagram;

use crate::events::Record;

use super::command::variable;

const SOCKET: &str = "/run/systemd/journal/socket";

/// Priorities of syslog.
const WARNING: u8 = 4;
const INFO: u8 = 6;

/// A connection to the journal.
pub struct Journal(UnixDatagram);

impl Journal {
    /// Connects to the journal. [`None`] if there is none.
    pub fn connect() -> Option<Self> {
        let socket = UnixDatagram::unbound().ok()?;

        socket.connect(SOCKET).ok()?;
        Some(Self(socket))
    }

    pub fn send(&self, record: &Record) -> Result<(), String> {
        self.0
            .send(entry(record).as_bytes())
            .map(drop)
            .map_err(|error| format!("{SOCKET}: {error}"))
    }
}

/// An entry: a line for each field. A value never has a line break, because the words of a record
/// have no white space.
fn entry(record: &Record) -> String {
    let priority = match record.get("event") {
        Some("cleared") => INFO,
        _ => WARNING,
    };
    let mut entry = format!(
        "MESSAGE={}\nPRIORITY={priority}\nSYSLOG_IDENTIFIER=daxmf\n",
        record.summary()
    );

    for (name, value) in record.fields() {
        // Writing to a string cannot fail.
        let _ = writeln!(entry, "{}={value}", variable(name));
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_all_fields() {
        let record = Record::parse("sequence=1 event=cleared disk=pmem0 offset=4096 length=512\n");

        assert_eq!(
            entry(&record),
            "MESSAGE=cleared pmem0 offset 0x1000 length 0x200\nPRIORITY=6\n\
             SYSLOG_IDENTIFIER=daxmf\nDAXMF_SEQUENCE=1\nDAXMF_EVENT=cleared\nDAXMF_DISK=pmem0\n\
             DAXMF_OFFSET=4096\nDAXMF_LENGTH=512\n"
        );
    }
}
