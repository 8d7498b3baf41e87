// SPDX-License-Identifier: GPL-2.0

//! The bad ranges of a block device, from the list of its disk in sysfs, and the translation of
//! ranges of a device to the devices above it.

use std::fs;
use std::ops::Range;
use std::path::Path;

use crate::block;
use crate::sys::mapper;
use crate::table::{self, SECTOR};

/// The longest text of a sysfs file, in bytes: a page without its final zero. `nd_pmem` cuts a
/// longer list there, `daxmf_pmem` after the last line that fits.
const ROOM: usize = 4095;

/// The longest line of a list, in bytes: a `sector_t`, a space, an `int` and a line break.
const LINE: usize = 20 + 1 + 10 + 1;

/// The number of lines of a full list: `MAX_BADBLOCKS` of linux/badblocks.h.
const LINES: usize = 512;

/// Returns the ranges of a device itself, from its directory in sysfs and its number; [`None`] if
/// they come from the devices below it.
type Origin<'a> = &'a dyn Fn(&str, (u64, u64)) -> Result<Option<BadRanges>, String>;

/// Bad ranges of a device, in bytes from its start.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct BadRanges {
    /// Sorted, and neither overlapping nor adjacent.
    pub ranges: Vec<Range<u64>>,
    /// Whether the disk can have more bad ranges than its file in sysfs shows: the file or the list
    /// is full.
    pub is_cut: bool,
}

impl From<Vec<Range<u64>>> for BadRanges {
    /// `ranges` are all bad ranges. They must be sorted, and neither overlapping nor adjacent.
    fn from(ranges: Vec<Range<u64>>) -> Self {
        Self {
            ranges,
            is_cut: false,
        }
    }
}

impl BadRanges {
    /// Reads the bad ranges of a device: a disk, a partition, or a mapped device.
    pub fn of_device(device: (u64, u64)) -> Result<Self, String> {
        Self::carried(device, &|sysfs, _| match block::is_disk(sysfs)? {
            true => Self::of_disk(sysfs).map(Some),
            false => Ok(None),
        })
    }

    /// Translates `ranges` of the device `below` to ranges of `device`.
    pub fn above(
        device: (u64, u64),
        below: (u64, u64),
        ranges: &[Range<u64>],
    ) -> Result<Vec<Range<u64>>, String> {
        let carried = Self::carried(device, &|_, number| {
            if number == below {
                return Ok(Some(ranges.to_vec().into()));
            }
            // Of the other devices, only those above `below` need a translation.
            Ok((!block::is_on(number, below)?).then(Self::default))
        })?;

        Ok(carried.ranges)
    }

    /// The ranges that `origin` returns for a device and the devices below it, as ranges of the
    /// device.
    fn carried(device: (u64, u64), origin: Origin<'_>) -> Result<Self, String> {
        let sysfs = block::sysfs(device);

        if let Some(ranges) = origin(&sysfs, device)? {
            return Ok(ranges);
        }
        if let Some(disk) = block::disk_of_partition(device)? {
            let start = number(&format!("{sysfs}/start"))?;
            let size = number(&format!("{sysfs}/size"))?;

            return Ok(Self::carried(disk, origin)?.part(start, size));
        }
        if Path::new(&format!("{sysfs}/dm")).exists() {
            return Self::of_mapped(device, origin);
        }
        match block::has_slaves(&sysfs)? {
            true => Err(format!(
                "{}: devices on other devices are not supported, except partitions and mapped \
                 devices: look up its bad ranges with its own tools",
                block::name(&sysfs)
            )),
            false => Ok(Self::default()),
        }
    }

    fn of_mapped((major, minor): (u64, u64), origin: Origin<'_>) -> Result<Self, String> {
        let failed = |why: String| format!("mapped device {major}:{minor}: {why}");
        let (count, bytes) = mapper::table((major, minor)).map_err(|e| failed(e.to_string()))?;
        let targets =
            table::parse(count, &bytes).ok_or_else(|| failed("cannot parse its table".into()))?;
        let mut ranges = Vec::new();
        let mut is_cut = false;

        for target in targets {
            let stripes = target.stripes().ok_or_else(|| {
                failed(format!(
                    "target type {} is not supported, only linear and striped",
                    target.kind
                ))
            })?;

            for stripe in stripes {
                let bad = Self::carried(stripe.device, origin)?.part(stripe.start, stripe.length);

                ranges.extend(bad.ranges.iter().flat_map(|range| stripe.above(range)));
                is_cut |= bad.is_cut;
            }
        }
        Ok(Self {
            ranges: merged(ranges),
            is_cut,
        })
    }

    fn of_disk(disk: &str) -> Result<Self, String> {
        let path = format!("{disk}/badblocks");

        Self::parse(&read(&path)?).ok_or_else(|| format!("{path}: not a list of bad blocks"))
    }

    /// Parses lines with a first sector and a number of sectors. Drops the last line if the text is
    /// cut.
    fn parse(text: &str) -> Option<Self> {
        let is_text_cut = text.len().saturating_add(LINE) > ROOM;
        let whole = match text.rfind('\n') {
            Some(end) if is_text_cut => text.get(..=end)?,
            _ => text,
        };
        let mut ranges = Vec::new();

        for line in whole.lines().filter(|line| !line.is_empty()) {
            let (sector, count) = line.split_once(' ')?;
            let start = sector.parse::<u64>().ok()?.checked_mul(SECTOR)?;
            let length = count.parse::<u64>().ok()?.checked_mul(SECTOR)?;

            ranges.push(start..start.checked_add(length)?);
        }
        Some(Self {
            is_cut: is_text_cut || ranges.len() >= LINES,
            ranges: merged(ranges),
        })
    }

    /// The ranges within `size` sectors from sector `start`, as offsets from `start`.
    fn part(self, start: u64, size: u64) -> Self {
        let start = start.saturating_mul(SECTOR);
        let part = start..start.saturating_add(size.saturating_mul(SECTOR));

        Self {
            ranges: self
                .within(&part)
                .map(|bad| bad.start - start..bad.end - start)
                .collect(),
            is_cut: self.is_cut,
        }
    }

    /// Removes the bytes of `ranges`.
    pub fn remove(&mut self, ranges: Vec<Range<u64>>) {
        self.ranges = without(&self.ranges, &merged(ranges));
    }

    /// The bad parts of a range.
    pub fn within<'a>(&'a self, range: &'a Range<u64>) -> impl Iterator<Item = Range<u64>> + 'a {
        let first = self.ranges.partition_point(|bad| bad.end <= range.start);

        self.ranges
            .iter()
            .skip(first)
            .map_while(|bad| intersection(bad, range))
    }
}

/// The bytes that two ranges share. [`None`] if there are none.
pub fn intersection(a: &Range<u64>, b: &Range<u64>) -> Option<Range<u64>> {
    let both = a.start.max(b.start)..a.end.min(b.end);

    (!both.is_empty()).then_some(both)
}

/// Sorts ranges, and merges those that overlap or touch.
pub fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| range.start);
    ranges.dedup_by(|next, last| {
        let touch = next.start <= last.end;

        if touch {
            last.end = last.end.max(next.end);
        }
        touch
    });
    ranges
}

/// The parts of `ranges` that are in none of `others`. Both must be as [`merged`] returns them.
pub fn without(ranges: &[Range<u64>], others: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut rest = Vec::new();

    for range in ranges {
        let first = others.partition_point(|other| other.end <= range.start);
        let mut start = range.start;

        for other in others
            .iter()
            .skip(first)
            .take_while(|other| other.start < range.end)
        {
            rest.push(start..other.start);
            start = other.end;
        }
        rest.push(start..range.end);
    }
    rest.retain(|range| !range.is_empty());
    rest
}

/// Checks that `length` bytes from `offset` lie on a device, and returns their range. `sysfs` is
/// the directory of the device.
pub fn range_of(name: &str, sysfs: &str, offset: u64, length: u64) -> Result<Range<u64>, String> {
    let size = number(&format!("{sysfs}/size"))?.saturating_mul(SECTOR);

    match offset.checked_add(length) {
        Some(end) if end <= size && length != 0 => Ok(offset..end),
        _ => Err(format!(
            "{name}: no such range: {length:#x} bytes at {offset:#x} of {size:#x} bytes"
        )),
    }
}

/// The number of bytes in ranges that do not overlap.
pub fn length(ranges: &[Range<u64>]) -> u64 {
    let lengths = ranges.iter().map(|range| range.end - range.start);

    lengths.fold(0, u64::saturating_add)
}

/// Reads the number in a file of sysfs.
pub fn number(path: &str) -> Result<u64, String> {
    let text = read(path)?;

    text.trim()
        .parse()
        .map_err(|_| format!("{path}: '{}' is not a number", text.trim()))
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))
}

#[cfg(test)]
#[expect(
    clippy::single_range_in_vec_init,
    reason = "lists of ranges are compared"
)]
mod tests {
    use std::slice;

    use super::*;
    use proptest::prelude::*;

    fn ranges(text: &str) -> Vec<Range<u64>> {
        BadRanges::parse(text).unwrap().ranges
    }

    #[test]
    fn a_list_is_parsed() {
        assert_eq!(ranges("\n"), []);
        assert_eq!(ranges(""), []);
        assert_eq!(ranges("8 8\n24 1\n"), [4096..8192, 12288..12800]);
        assert_eq!(ranges("24 8\n8 8\n16 8\n"), [4096..16384]);
    }

    #[test]
    fn an_invalid_list_is_rejected() {
        for text in ["8\n", "8 x\n", "-8 8\n", "36893488147419103232 8\n"] {
            assert_eq!(BadRanges::parse(text), None);
        }
        assert_eq!(BadRanges::parse("36028797018963967 2\n"), None);
    }

    #[test]
    fn a_cut_list_is_recognized() {
        let lines: Vec<_> = (0..1000).map(|n| format!("{} 1\n", n * 2)).collect();
        let text = lines.concat();
        let end_of_line = text[..ROOM].rfind('\n').unwrap() + 1;

        // The text is cut in the middle of a line, or at the end of a line.
        for cut in [ROOM, end_of_line] {
            let bad = BadRanges::parse(&text[..cut]).unwrap();

            assert!(bad.is_cut);
            assert_eq!(bad.ranges.len(), text[..end_of_line].matches('\n').count());
        }
        assert!(!BadRanges::parse(&lines[..300].concat()).unwrap().is_cut);
    }

    #[test]
    fn a_full_list_is_cut() {
        let lines: Vec<_> = (0..LINES).map(|n| format!("{} 1\n", n * 2)).collect();
        let full = BadRanges::parse(&lines.concat()).unwrap();

        assert!(full.is_cut);
        assert_eq!(full.ranges.len(), LINES);
        assert!(!BadRanges::parse(&lines[1..].concat()).unwrap().is_cut);
        // The last line has no line break, but the text is not cut.
        let full = BadRanges::parse(lines.concat().trim_end()).unwrap();

        assert_eq!(full.ranges.len(), LINES);
    }

    #[test]
    fn a_partition_has_its_part() {
        let bad = BadRanges::parse("6 4\n20 2\n31 100\n").unwrap().part(8, 24);

        assert_eq!(
            bad.ranges,
            [0..1024, 12 * 512..14 * 512, 23 * 512..24 * 512]
        );
    }

    proptest! {
        #[test]
        fn ranges_have_the_same_bytes_within(
            list in prop::collection::vec((0_u64..64, 0_u64..8), 0..16),
            start in 0_u64..70,
            length in 0_u64..70,
        ) {
            let list: Vec<_> = list.iter().map(|(at, count)| *at..at + count).collect();
            let bad = BadRanges { ranges: merged(list.clone()), is_cut: false };
            let range = start..start + length;
            let within: Vec<_> = bad.within(&range).collect();

            for byte in 0..150 {
                let expected = range.contains(&byte) && list.iter().any(|r| r.contains(&byte));
                prop_assert_eq!(expected, within.iter().any(|r| r.contains(&byte)));
            }
            for byte in 0..150 {
                let is_left = without(&bad.ranges, slice::from_ref(&range))
                    .iter()
                    .any(|r| r.contains(&byte));

                let is_bad = list.iter().any(|r| r.contains(&byte));

                prop_assert_eq!(is_left, is_bad && !range.contains(&byte));
            }
            for pair in bad.ranges.windows(2) {
                prop_assert!(pair[0].end < pair[1].start);
            }
        }
    }
}
