// SPDX-License-Identifier: GPL-2.0

//! Finds the processes that map the files of findings.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::ops::Range;
use std::rc::Rc;

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
type Files<'a> = BTreeMap<((u64, u64), u64), Ranges<'a>>;

fn by_file(filesystems: &mut [OnFilesystem]) -> Files<'_> {
    let mut files: BTreeMap<_, Vec<_>> = BTreeMap::new();

    for filesystem in filesystems {
        for found in &mut filesystem.found {
            if let (Some(inode), Some(bytes)) = (found.inode, found.bytes.clone()) {
                let key = (filesystem.number, inode);

                files.entry(key).or_default().push((bytes, found));
            }
        }
    }
    files
        .into_iter()
        .map(|(key, ranges)| (key, Ranges::new(ranges)))
        .collect()
}

/// The ranges of one file. A user decides how many there are, and how often a process maps each:
/// each range is visited once for a process.
struct Ranges<'a> {
    /// Sorted by their start. They can overlap, if the file changed during the search.
    all: Vec<(Range<u64>, &'a mut Finding)>,
    /// For each range, the largest end of this range and those before it.
    ends: Vec<u64>,
    /// The process that was added last.
    pid: u32,
    /// For each range that has this process: a later range, and all ranges up to that one have the
    /// process.
    later: HashMap<usize, usize>,
}

impl<'a> Ranges<'a> {
    fn new(mut all: Vec<(Range<u64>, &'a mut Finding)>) -> Self {
        all.sort_by_key(|(bytes, _)| bytes.start);
        let ends = all.iter().scan(0, |end, (bytes, _)| {
            *end = bytes.end.max(*end);
            Some(*end)
        });

        Self {
            ends: ends.collect(),
            all,
            pid: 0,
            later: HashMap::new(),
        }
    }

    /// Adds a process to the ranges that are within `mapped` and do not have the process yet.
    fn add(&mut self, pid: u32, mapped: &Mapped, mut command: impl FnMut() -> Rc<str>) {
        if self.pid != pid {
            self.pid = pid;
            self.later.clear();
        }
        let mut index = self.ends.partition_point(|end| *end <= mapped.bytes.start);

        loop {
            index = self.without_process(index);
            let Some((bytes, found)) = self.all.get_mut(index) else {
                return;
            };

            if bytes.start >= mapped.bytes.end {
                return;
            }
            if let Some(part) = intersection(bytes, &mapped.bytes) {
                found.processes.push(Process {
                    pid,
                    command: command(),
                    address: mapped.start + (part.start - mapped.bytes.start),
                });
                self.later.insert(index, index + 1);
            }
            index += 1;
        }
    }

    /// The first range from `index` on that does not have the process. Later calls skip all ranges
    /// up to it in one step.
    fn without_process(&mut self, index: usize) -> usize {
        let mut end = index;

        while let Some(later) = self.later.get(&end) {
            end = *later;
        }
        let mut at = index;

        while at < end {
            at = self.later.insert(at, end).unwrap_or(end);
        }
        end
    }
}

/// Adds a process to the findings whose ranges it maps, once to each. Reads `maps` line by line,
/// because a user decides how many mappings there are, and how long their paths are.
fn add_process(pid: u32, maps: impl BufRead, files: &mut Files<'_>) -> io::Result<()> {
    let mut name = None;

    for line in maps.split(b'\n') {
        let Some(mapped) = Mapped::parse(&String::from_utf8_lossy(&line?)) else {
            continue;
        };

        if let Some(ranges) = files.get_mut(&(mapped.device, mapped.inode)) {
            ranges.add(pid, &mapped, || {
                Rc::clone(name.get_or_insert_with(|| command(pid)))
            });
        }
    }
    Ok(())
}

/// The name of a process. Empty if the process has ended.
fn command(pid: u32) -> Rc<str> {
    let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();

    String::from_utf8_lossy(name.trim_ascii_end()).into()
}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::*;
    use proptest::prelude::*;

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

        let range = 0x1000..0x2000;

        assert_eq!(
            added(maps, slice::from_ref(&range)),
            [(range, vec![0x2000])]
        );
    }

    #[test]
    fn ranges_overlap() {
        let maps = "9000-a000 rw-s 00003000 103:01 131 /mnt/a\n";

        assert_eq!(
            added(
                maps,
                &[0x5000..0x6000, 0x1000..0x2000, 0..0x4000, 0x3000..0x3200]
            ),
            [
                (0..0x4000, vec![0x9000]),
                (0x1000..0x2000, vec![]),
                (0x3000..0x3200, vec![0x9000]),
                (0x5000..0x6000, vec![]),
            ]
        );
    }

    /// The ranges of a file, sorted, with the addresses where a process maps them.
    fn added(maps: &str, ranges: &[Range<u64>]) -> Vec<(Range<u64>, Vec<u64>)> {
        let mut all: Vec<_> = ranges
            .iter()
            .map(|bytes| Finding::of_file(0..0x1000, 131, bytes.clone()))
            .collect();
        let mut files = by_file_of_test(&mut all);

        add_process(6, "".as_bytes(), &mut files).unwrap();
        add_process(7, maps.as_bytes(), &mut files).unwrap();
        drop(files);
        all.sort_by_key(|found| found.bytes.clone().map(|bytes| bytes.start));
        all.into_iter()
            .map(|found| {
                let addresses = found.processes.iter().map(|process| {
                    assert_eq!(process.pid, 7);
                    process.address
                });

                (found.bytes.unwrap(), addresses.collect())
            })
            .collect()
    }

    fn by_file_of_test(all: &mut [Finding]) -> Files<'_> {
        let ranges = all
            .iter_mut()
            .map(|found| (found.bytes.clone().unwrap(), found));

        Files::from([(((259, 1), 131), Ranges::new(ranges.collect()))])
    }

    proptest! {
        /// Each range has the address of the first mapping that it is within.
        #[test]
        fn ranges_are_found(
            ranges in prop::collection::vec((0_u64..40, 1_u64..9), 0..20),
            mappings in prop::collection::vec((0_u64..40, 1_u64..20), 0..20),
        ) {
            let mut ranges: Vec<_> = ranges.iter().map(|(at, size)| *at..at + size).collect();
            let mapped: Vec<_> = mappings
                .iter()
                .zip(1_u64..)
                .map(|((offset, size), number)| (number * 0x100, *offset..offset + size))
                .collect();
            let lines: Vec<_> = mapped
                .iter()
                .map(|(start, bytes)| {
                    let end = start + bytes.end - bytes.start;

                    format!("{start:x}-{end:x} rw-s {:x} 103:01 131 /mnt/a\n", bytes.start)
                })
                .collect();

            ranges.sort_by_key(|range| range.start);
            for (range, addresses) in added(&lines.concat(), &ranges) {
                let first = mapped.iter().find_map(|(start, bytes)| {
                    let part = intersection(&range, bytes)?;

                    Some(start + part.start - bytes.start)
                });

                prop_assert_eq!(addresses, Vec::from_iter(first));
            }
        }
    }
}
