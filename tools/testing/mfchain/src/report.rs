// SPDX-License-Identifier: GPL-2.0

//! Reports of a process to the program that started it.
//!
//! A report is a record of fixed size, written with a single `write(2)`. So a signal handler can
//! send one, and two reports never mix in the pipe.

/// Size of an encoded [`Report`] in bytes.
pub const REPORT_LEN: usize = WORDS * 8;

const WORDS: usize = 6;

/// What a process was doing when it was signalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Touching the page for the first time.
    Mapping = 0,
    /// Waiting; the page is mapped.
    Waiting = 1,
    /// Inside `madvise(MADV_HWPOISON)`.
    Poisoning = 2,
    /// Touching the page again after the failure.
    Touching = 3,
}

impl Phase {
    fn from_word(word: u64) -> Option<Self> {
        [
            Self::Mapping,
            Self::Waiting,
            Self::Poisoning,
            Self::Touching,
        ]
        .into_iter()
        .find(|p| *p as u64 == word)
    }
}

/// The SIGBUS that a process received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sigbus {
    /// `si_code`.
    pub code: i32,
    /// `si_addr`.
    pub addr: u64,
    /// `si_addr_lsb`.
    pub lsb: u32,
    /// `CLOCK_MONOTONIC` in nanoseconds, at the start of the handler.
    pub time_ns: u64,
    /// What the process was doing.
    pub phase: Phase,
}

/// One message from a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// The page is mapped.
    Ready {
        /// Its address in the process.
        vaddr: u64,
        /// Its physical address.
        phys: u64,
    },
    /// The process received SIGBUS, and has exited.
    Signalled(Sigbus),
    /// The process executed the command, and received no signal.
    Quiet,
    /// A system call failed with this errno.
    Errno(i32),
}

impl Report {
    /// Encodes the report. Allocates no memory, because a signal handler calls this.
    pub fn encode(self) -> [u8; REPORT_LEN] {
        let words: [u64; WORDS] = match self {
            Self::Ready { vaddr, phys } => [0, vaddr, phys, 0, 0, 0],
            Self::Signalled(s) => [
                1,
                s.code as u64,
                s.addr,
                s.lsb.into(),
                s.time_ns,
                s.phase as u64,
            ],
            Self::Quiet => [2, 0, 0, 0, 0, 0],
            Self::Errno(errno) => [3, errno as u64, 0, 0, 0, 0],
        };
        let mut bytes = [0; REPORT_LEN];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Decodes a report. `None` if the bytes are not a report.
    pub fn decode(bytes: &[u8; REPORT_LEN]) -> Option<Self> {
        let mut words = [0u64; WORDS];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_le_bytes(chunk.try_into().ok()?);
        }
        match words[0] {
            0 => Some(Self::Ready {
                vaddr: words[1],
                phys: words[2],
            }),
            1 => Some(Self::Signalled(Sigbus {
                code: words[1] as i32,
                addr: words[2],
                lsb: words[3] as u32,
                time_ns: words[4],
                phase: Phase::from_word(words[5])?,
            })),
            2 => Some(Self::Quiet),
            3 => Some(Self::Errno(words[1] as i32)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decode_inverts_encode() {
        let sigbus = Sigbus {
            code: -6,
            addr: 0x7fff_ffff_f000,
            lsb: 21,
            time_ns: u64::MAX,
            phase: Phase::Touching,
        };
        for report in [
            Report::Ready {
                vaddr: 0x1000,
                phys: 0x1_4000_0000,
            },
            Report::Signalled(sigbus),
            Report::Quiet,
            Report::Errno(16),
        ] {
            assert_eq!(Report::decode(&report.encode()), Some(report));
        }
    }

    #[test]
    fn decode_rejects_unknown_records() {
        let mut bytes = Report::Quiet.encode();
        bytes[0] = 9;
        assert_eq!(Report::decode(&bytes), None);
    }
}
