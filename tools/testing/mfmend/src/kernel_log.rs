// SPDX-License-Identifier: GPL-2.0

//! What the kernel says.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process;
use std::time::{Duration, Instant};

use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

const PATH: &str = "/dev/kmsg";

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

/// How long the kernel may take to tell what was just written to its log.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The kernel's log, from now on.
pub struct KernelLog {
    file: File,
    /// How often it was read.
    count: u64,
}

impl KernelLog {
    /// Opens it.
    pub fn open() -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(PATH)?;

        file.seek(SeekFrom::End(0))?;
        Ok(Self { file, count: 0 })
    }

    /// The lines since the last call.
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

    /// Writes a line to the log, behind all that there is: a read ends where another processor is
    /// about to write a line, even if there are lines behind it.
    fn mark(&mut self) -> io::Result<String> {
        let mark = format!("mfmend: process {}, mark {}", process::id(), self.count);

        self.count += 1;
        // Opened anew, for the kernel takes ten lines of an open file in five seconds.
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
