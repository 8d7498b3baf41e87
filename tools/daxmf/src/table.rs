// SPDX-License-Identifier: GPL-2.0

//! Parses tables of device-mapper, and translates ranges of the devices below to the mapped device.

use std::ops::Range;

/// Size of a sector, in bytes.
pub const SECTOR: u64 = 512;

/// A line of a table.
#[derive(Debug, PartialEq, Eq)]
pub struct Target {
    /// First sector on the mapped device.
    start: u64,
    /// Length in sectors.
    length: u64,
    /// The target type, such as "linear".
    pub kind: String,
    parameters: String,
}

/// A part of a device below. On the mapped device, the chunks of a stripe alternate with the chunks
/// of the other stripes. A linear target has one stripe.
#[derive(Debug, PartialEq, Eq)]
pub struct Stripe {
    /// Major and minor number of the device below.
    pub device: (u64, u64),
    /// First sector on the device below.
    pub start: u64,
    /// Length in sectors.
    pub length: u64,
    /// Offset of the target on the mapped device, in bytes.
    above: u64,
    /// Index of this stripe in the target.
    number: u64,
    /// Number of stripes of the target.
    count: u64,
    /// Length of a chunk, in bytes.
    chunk: u64,
}

/// Parses the targets that `DM_TABLE_STATUS` returns.
pub fn parse(count: u32, bytes: &[u8]) -> Option<Vec<Target>> {
    /// Size of `struct dm_target_spec`.
    const HEAD: usize = 40;

    let mut targets = Vec::new();
    let mut at = 0;

    for _ in 0..count {
        let target = bytes.get(at..)?;
        let number = |at: usize| Some(u64::from_ne_bytes(target.get(at..at + 8)?.try_into().ok()?));
        let next = u32::from_ne_bytes(target.get(20..24)?.try_into().ok()?);

        targets.push(Target {
            start: number(0)?,
            length: number(8)?,
            kind: text(target.get(24..HEAD)?)?,
            parameters: text(target.get(HEAD..)?)?,
        });
        at = next as usize;
    }
    Some(targets)
}

/// Text up to its final zero byte.
fn text(bytes: &[u8]) -> Option<String> {
    let text = bytes.split(|byte| *byte == 0).next()?;

    String::from_utf8(text.into()).ok()
}

impl Target {
    /// The stripes of a linear or striped target. [`None`] for another type.
    pub fn stripes(&self) -> Option<Vec<Stripe>> {
        let mut words = self.parameters.split_ascii_whitespace();
        let (count, chunk) = match self.kind.as_str() {
            "linear" => (1, self.length),
            "striped" => (words.next()?.parse().ok()?, words.next()?.parse().ok()?),
            _ => return None,
        };

        (0..count)
            .map(|number| {
                let (major, minor) = words.next()?.split_once(':')?;

                Some(Stripe {
                    device: (major.parse().ok()?, minor.parse().ok()?),
                    start: words.next()?.parse().ok()?,
                    length: self.length.checked_div(count)?,
                    above: self.start.checked_mul(SECTOR)?,
                    number,
                    count,
                    chunk: chunk
                        .checked_mul(SECTOR)
                        .filter(|chunk: &u64| *chunk != 0)?,
                })
            })
            .collect()
    }
}

impl Stripe {
    /// Translates a range of the stripe, in bytes from its start, to ranges of the mapped device.
    pub fn above<'a>(&'a self, range: &Range<u64>) -> impl Iterator<Item = Range<u64>> + 'a {
        let Range { mut start, end } = *range;

        std::iter::from_fn(move || {
            if start >= end {
                return None;
            }
            let (row, at) = (start / self.chunk, start % self.chunk);
            let length = (end - start).min(self.chunk - at);
            let above = self.above + (row * self.count + self.number) * self.chunk + at;

            start += length;
            Some(above..above + length)
        })
    }
}

#[cfg(test)]
#[expect(
    clippy::single_range_in_vec_init,
    reason = "lists of ranges are compared"
)]
mod tests {
    use super::*;

    fn spec(start: u64, length: u64, next: u32, kind: &str, parameters: &str) -> Vec<u8> {
        let mut bytes = [start.to_ne_bytes(), length.to_ne_bytes()].concat();

        bytes.extend([0; 4]);
        bytes.extend(next.to_ne_bytes());
        bytes.extend(kind.bytes().chain([0; 16]).take(16));
        bytes.extend(parameters.bytes().chain([0]));
        bytes
    }

    fn target(kind: &str, length: u64, parameters: &str) -> Target {
        Target {
            start: 16,
            length,
            kind: kind.into(),
            parameters: parameters.into(),
        }
    }

    fn above(stripe: &Stripe, range: Range<u64>) -> Vec<Range<u64>> {
        stripe.above(&range).collect()
    }

    #[test]
    fn a_table_is_parsed() {
        let mut bytes = spec(0, 16, 64, "linear", "259:0 2048");

        bytes.resize(64, 0);
        bytes.extend(spec(16, 8, 0, "striped", ""));
        let targets = parse(2, &bytes).unwrap();

        assert_eq!(targets[0].kind, "linear");
        assert_eq!(targets[0].stripes().unwrap()[0].start, 2048);
        assert_eq!((targets[1].start, targets[1].length), (16, 8));
        assert_eq!(targets[1].stripes(), None);
        assert_eq!(parse(2, &bytes[..63]), None);
        assert_eq!(parse(1, &[]), None);
        assert_eq!(parse(0, &[]), Some(vec![]));
    }

    #[test]
    fn a_linear_target_is_shifted() {
        let stripes = target("linear", 64, "253:1 100").stripes().unwrap();

        assert_eq!(stripes.len(), 1);
        assert_eq!(
            (stripes[0].device, stripes[0].start, stripes[0].length),
            ((253, 1), 100, 64)
        );
        assert_eq!(above(&stripes[0], 512..1024), [8704..9216]);
    }

    #[test]
    fn stripes_take_turns() {
        let stripes = target("striped", 64, "2 8 253:1 100 253:2 0")
            .stripes()
            .unwrap();

        assert_eq!(
            (stripes[1].device, stripes[1].start, stripes[1].length),
            ((253, 2), 0, 32)
        );
        assert_eq!(above(&stripes[0], 0..4096), [8192..12288]);
        assert_eq!(above(&stripes[1], 512..8192), [12800..16384, 20480..24576]);
        assert_eq!(above(&stripes[1], 0..0), []);
    }

    #[test]
    fn other_targets_are_rejected() {
        for (kind, parameters) in [
            ("crypt", "x"),
            ("linear", ""),
            ("linear", "253 1"),
            ("striped", "2 0 253:1 100 253:2 0"),
            ("striped", "2 8 253:1 100"),
        ] {
            assert_eq!(target(kind, 64, parameters).stripes(), None);
        }
    }
}
