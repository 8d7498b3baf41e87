// SPDX-License-Identifier: GPL-2.0

//! What the kernel says.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

/// What the kernel must not say.
const COMPLAINTS: [&str; 12] = [
    "WARNING: ",
    "BUG: ",
    "kernel BUG at",
    "Oops",
    "KASAN",
    "UBSAN",
    "general protection",
    "suspicious RCU",
    "possible circular locking",
    "possible recursive locking",
    "INFO: ",
    "rust_kernel: panicked",
];

/// The kernel's log, from now on.
pub struct KernelLog(File);

impl KernelLog {
    /// Opens it.
    pub fn open() -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/kmsg")?;

        file.seek(SeekFrom::End(0))?;
        Ok(Self(file))
    }

    /// The lines since the last call.
    pub fn lines(&mut self) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        let mut record = [0; 8192];

        loop {
            match self.0.read(&mut record) {
                Ok(len) => lines.push(text(&String::from_utf8_lossy(&record[..len]))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(lines),
                Err(error) => return Err(error),
            }
        }
    }
}

/// What a record says: it starts with numbers, and ends with properties of devices.
fn text(record: &str) -> String {
    let message = record.split_once(';').map_or(record, |(_, rest)| rest);

    message.lines().next().unwrap_or_default().into()
}

/// Whether a line is a complaint.
pub fn is_complaint(line: &str) -> bool {
    COMPLAINTS.iter().any(|what| line.contains(what))
}

/// Whether a line of mendfs names a structure of the filesystem on a device.
pub fn names_structure(line: &str, device: &str) -> bool {
    let prefix = format!("mendfs: {device}: ");

    line.strip_prefix(&prefix).is_some_and(|rest| {
        ["superblock", "metadata block"]
            .iter()
            .any(|what| rest.starts_with(what))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_taken_apart() {
        let record = "3,1234,5678,-;mendfs: dm-0: superblock: wrong; really\n SUBSYSTEM=block\n";

        assert_eq!(text(record), "mendfs: dm-0: superblock: wrong; really");
        assert!(names_structure(&text(record), "dm-0"));
        assert!(!names_structure(&text(record), "dm-1"));
        assert!(!names_structure("mendfs: dm-0: broken", "dm-0"));
        assert!(is_complaint("BUG: KASAN: use-after-free"));
    }
}
