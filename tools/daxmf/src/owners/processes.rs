// SPDX-License-Identifier: GPL-2.0

//! Finds the processes that map the files of findings.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::ops::Range;

use crate::bad::intersection;

use super::report::{Finding, OnFilesystem, Process};

/// A mapping of a file by a process: a line of `/proc/PID/maps`.
#[derive(Debug, PartialEq, Eq)]
struct Mapped {
    /// Address of its first byte.
    start: u64,
    /// Bytes of the file.
    bytes: Range<u64>,
    /// Major and minor number of the device of its filesystem.
    device: (u64, u64),
    inode: u64,
}

impl Mapped {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let hex = |text: &str| u64::from_str_radix(text, 16).ok();
        let (start, end) = fields.next()?.split_once('-')?;
        let (start, end) = (hex(start)?, hex(end)?);
        let offset = hex(fields.nth(1)?)?;
        let (major, minor) = fields.next()?.split_once(':')?;

        Some(Self {
            start,
            bytes: offset..offset.checked_add(end.checked_sub(start)?)?,
            device: (hex(major)?, hex(minor)?),
            inode: fields.next()?.parse().ok()?,
        })
    }
}

/// Adds the processes that map the ranges, in the order of their PIDs.
pub fn add(filesystems: &mut [OnFilesystem], errors: &mut Vec<String>) {
    let mut files = by_file(filesystems);

    if files.is_empty() {
        return;
    }
    let entries = match fs::read_dir("/proc") {
        Err(error) => return errors.push(format!("/proc: {error}")),
        Ok(entries) => entries,
    };
    let mut numbers: Vec<u32> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();

    numbers.sort_unstable();
    for pid in numbers {
        let result = File::open(format!("/proc/{pid}/maps"))
            .and_then(|maps| add_process(pid, BufReader::new(maps), &mut files));

        match result {
            Ok(()) => {}
            // The process has ended meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(error) => errors.push(format!("/proc/{pid}/maps: {error}")),
        }
    }
}

/// The ranges of files, by device number and inode number. A map finds one of a million fast.
type Files<'a> = BTreeMap<((u64, u64), u64), Vec<&'a mut Finding>>;

fn by_file(filesystems: &mut [OnFilesystem]) -> Files<'_> {
    let mut files = Files::new();

    for filesystem in filesystems {
        for found in &mut filesystem.found {
            if let Some(inode) = found.inode {
                let key = (filesystem.number, inode);

                files.entry(key).or_default().push(found);
            }
        }
    }
    files
}

/// Adds a process to the findings whose ranges it maps, once to each. Reads `maps` line by line,
/// because a user decides how many mappings there are, and how long their paths are.
fn add_process(pid: u32, maps: impl BufRead, files: &mut Files<'_>) -> io::Result<()> {
    let mut name = None;

    for line in maps.split(b'\n') {
        let Some(mapped) = Mapped::parse(&String::from_utf8_lossy(&line?)) else {
            continue;
        };
        let found = files.get_mut(&(mapped.device, mapped.inode));

        for found in found.into_iter().flatten() {
            let bytes = found.bytes.as_ref();
            let Some(part) = bytes.and_then(|bytes| intersection(bytes, &mapped.bytes)) else {
                continue;
            };

            if found.processes.last().is_some_and(|last| last.pid == pid) {
                continue;
            }
            found.processes.push(Process {
                pid,
                command: name.get_or_insert_with(|| command(pid)).clone(),
                address: mapped.start + (part.start - mapped.bytes.start),
            });
        }
    }
    Ok(())
}

/// The name of a process. Empty if the process has ended.
fn command(pid: u32) -> String {
    let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();

    String::from_utf8_lossy(name.trim_ascii_end()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_parsed() {
        let line = "7f0000003000-7f0000005000 rw-s 00008000 103:01 131    /mnt/a b (deleted)";

        assert_eq!(
            Mapped::parse(line),
            Some(Mapped {
                start: 0x7f00_0000_3000,
                bytes: 0x8000..0xa000,
                device: (259, 1),
                inode: 131,
            })
        );
        for line in [
            "",
            "1-2 r",
            "2-1 r-- 0 0:0 0",
            "1-2 r-- 0 0 0",
            "x-2 r-- 0 0:0 0",
        ] {
            assert_eq!(Mapped::parse(line), None, "{line}");
        }
    }

    #[test]
    fn a_process_is_named_once_for_a_part() {
        let maps = "1000-3000 rw-s 00000000 103:01 131 /mnt/a\n\
                    5000-7000 rw-s 00001000 103:01 131 /mnt/a\n";
        let mut found = Finding::of_file(0..0x1000, 131, 0x1000..0x2000);
        let mut files = Files::from([(((259, 1), 131), vec![&mut found])]);

        add_process(7, maps.as_bytes(), &mut files).unwrap();
        let addresses: Vec<_> = found.processes.iter().map(|p| (p.pid, p.address)).collect();

        assert_eq!(addresses, [(7, 0x2000)]);
    }
}
