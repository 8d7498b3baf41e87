// SPDX-License-Identifier: GPL-2.0

//! The description of a process on the command line: `FILE[,KEY[=VALUE]]...`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Size of the page that a process touches, and the least that it maps, in bytes.
pub const PAGE_SIZE: u64 = 4096;

/// What a process must receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// A signal.
    Signal,
    /// Nothing, because the process does not map the failed page.
    Nothing,
}

/// A process: what it maps, how, and what it must receive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The file to map.
    pub file: PathBuf,
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// Length of the mapping, in bytes.
    pub length: u64,
    /// Map `MAP_PRIVATE` rather than `MAP_SHARED`.
    pub private: bool,
    /// Map writable and fault by a write.
    pub write: bool,
    /// Use the late policy (`PR_MCE_KILL_LATE`): the signal must come when the page is touched
    /// again.
    pub late: bool,
    /// What the process must receive.
    pub expect: Expect,
    /// The `si_addr_lsb` that its signal must have.
    pub lsb: u32,
}

/// Parses a number of bytes: decimal or `0x` hexadecimal, with an optional suffix K, M or G.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.char_indices().last() {
        Some((at, 'K')) => (&text[..at], 10),
        Some((at, 'M')) => (&text[..at], 20),
        Some((at, 'G')) => (&text[..at], 30),
        _ => (text, 0),
    };
    let number = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => digits.parse(),
    };
    number
        .ok()
        .and_then(|n| n.checked_mul(1 << shift))
        .ok_or_else(|| format!("`{text}` is not a number of bytes"))
}

impl FromStr for Spec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split(',');
        let file = words.next().filter(|f| !f.is_empty());
        let mut spec = Self {
            file: file.ok_or("the file's name is missing")?.into(),
            offset: 0,
            length: PAGE_SIZE,
            private: false,
            write: false,
            late: false,
            expect: Expect::Signal,
            lsb: PAGE_SIZE.trailing_zeros(),
        };
        for word in words {
            match word.split_once('=') {
                Some(("offset", value)) => spec.offset = parse_bytes(value)?,
                Some(("length", value)) => spec.length = parse_bytes(value)?,
                Some(("lsb", value)) => {
                    spec.lsb = value.parse().map_err(|_| format!("bad lsb `{value}`"))?;
                }
                None if word == "private" => spec.private = true,
                None if word == "write" => spec.write = true,
                None if word == "late" => spec.late = true,
                None if word == "quiet" => spec.expect = Expect::Nothing,
                _ => return Err(format!("unknown word `{word}`")),
            }
        }
        if spec.offset % PAGE_SIZE != 0 || spec.length < PAGE_SIZE {
            return Err(format!(
                "`{text}`: the offset must be a multiple of 4096, the length at least 4096"
            ));
        }
        Ok(spec)
    }
}

impl fmt::Display for Spec {
    /// Writes the spec in the form that [`FromStr`] parses.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{},offset={},length={},lsb={}",
            self.file.display(),
            self.offset,
            self.length,
            self.lsb
        )?;
        for (set, word) in [
            (self.private, "private"),
            (self.write, "write"),
            (self.late, "late"),
            (self.expect == Expect::Nothing, "quiet"),
        ] {
            if set {
                write!(f, ",{word}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_a_suffix() {
        assert_eq!(parse_bytes("4096"), Ok(4096));
        assert_eq!(parse_bytes("0x10K"), Ok(16384));
        assert_eq!(parse_bytes("2M"), Ok(2 << 20));
        for bad in ["", "K", "-1", "4k", "0x", "18446744073709551615K"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn display_parses_back() {
        for text in [
            "/mnt/a",
            "/mnt/a,offset=1M,length=2M,lsb=21",
            "/mnt/a,private,write,late,quiet",
        ] {
            let spec: Spec = text.parse().unwrap();
            assert_eq!(spec.to_string().parse(), Ok(spec));
        }
    }

    #[test]
    fn unknown_words_are_rejected() {
        for bad in [
            "",
            ",late",
            "/a,soon",
            "/a,offset=1",
            "/a,length=0",
            "/a,late=1",
        ] {
            assert!(bad.parse::<Spec>().is_err(), "{bad}");
        }
    }
}
