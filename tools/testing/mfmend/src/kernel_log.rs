// SPDX-License-Identifier: GPL-2.0

//! Reads the kernel log.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process;
use std::time::{Duration, Instant};

use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

const PATH: &str = "/dev/kmsg";

/// Texts of warnings and errors that the kernel must not log.
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

/// The time within which a line that was written to the log must be readable.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The lines of the kernel log since it was opened.
pub struct KernelLog {
    file: File,
    /// The number of marks that were written.
    count: u64,
}

impl KernelLog {
    /// Opens the log at its end.
    pub fn open() -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(PATH)?;

        file.seek(SeekFrom::End(0))?;
        Ok(Self { file, count: 0 })
    }

    /// Returns the lines since the last call.
    pub fn lines(&mut self) -> io::Result<Vec<String>> {
        let mark = self.mark()?;
        let deadline = Instant::now() + TIMEOUT;
        let mut lines = Vec::new();

        loop {
            match self.line() {
                Ok(line) if line == mark => return Ok(lines),
                Ok(line) => lines.push(line),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(deadline)?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes a line to the log, and returns it. [`lines()`](Self::lines) reads until this line,
    /// because a failed read does not mean the end of the log. A read also fails at a line that
    /// another processor has reserved but not written, even if more lines follow.
    fn mark(&mut self) -> io::Result<String> {
        let mark = format!("mfmend: process {}, mark {}", process::id(), self.count);

        self.count += 1;
        // Open the file again, because the kernel accepts only ten lines in five seconds from one
        // open file.
        fs::write(PATH, format!("{mark}\n"))?;
        Ok(mark)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut record = [0; 8192];
        let len = self.file.read(&mut record)?;

        Ok(text(&String::from_utf8_lossy(&record[..len])))
    }

    fn wait(&self, deadline: Instant) -> io::Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut files = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];

        match poll(&mut files, left)? {
            0 => Err(io::ErrorKind::TimedOut.into()),
            _ => Ok(()),
        }
    }
}

/// The message in a record. Numbers precede it, and properties of a device can follow.
fn text(record: &str) -> String {
    let message = record.split_once(';').map_or(record, |(_, rest)| rest);

    message.lines().next().unwrap_or_default().into()
}

/// Whether a line is a warning or an error that the kernel must not log.
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
    fn records_are_parsed() {
        let record = "3,1234,5678,-;mendfs: dm-0: superblock: wrong; really\n SUBSYSTEM=block\n";

        assert_eq!(text(record), "mendfs: dm-0: superblock: wrong; really");
        assert!(names_structure(&text(record), "dm-0"));
        assert!(!names_structure(&text(record), "dm-1"));
        assert!(!names_structure("mendfs: dm-0: broken", "dm-0"));
        assert!(is_complaint("BUG: KASAN: use-after-free"));
    }
}
