// SPDX-License-Identifier: GPL-2.0

//! Transfers from and to a disk.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use clap::ValueEnum;

use crate::clock;
use crate::mapping::{Mapping, PAGE_SIZE};
use crate::random::Random;

const ROUNDS: usize = 500;
const MIB: usize = 1 << 20;

/// The length of the part of the disk that is used, in bytes.
const SPAN: usize = 256 * MIB;

/// The operation that is counted.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Operation {
    /// Read 4 KiB at random offsets.
    Read,
    /// Write 4 KiB at random offsets.
    Write,
    /// Write 4 KiB at random offsets, and make them durable (`O_DSYNC`).
    Fua,
    /// Read 1 MiB at consecutive offsets.
    SequentialRead,
    /// Write 1 MiB at consecutive offsets.
    SequentialWrite,
}

impl Operation {
    fn is_sequential(self) -> bool {
        matches!(self, Self::SequentialRead | Self::SequentialWrite)
    }

    fn is_read(self) -> bool {
        matches!(self, Self::Read | Self::SequentialRead)
    }

    fn flags(self) -> libc::c_int {
        match self {
            Self::Fua => libc::O_DIRECT | libc::O_DSYNC,
            _ => libc::O_DIRECT,
        }
    }
}

/// The offsets of the transfers, in bytes.
fn offsets(operation: Operation) -> Vec<usize> {
    (0..ROUNDS)
        .zip(Random::new())
        .map(|(round, random)| {
            if operation.is_sequential() {
                round * MIB % SPAN
            } else {
                random % (SPAN / PAGE_SIZE) * PAGE_SIZE
            }
        })
        .collect()
}

/// Counts the instructions of one transfer.
pub fn run(disk: &Path, operation: Operation) -> io::Result<u64> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(operation.flags())
        .open(disk)?;
    let len = if operation.is_sequential() {
        MIB
    } else {
        PAGE_SIZE
    };
    let buffer = Mapping::anonymous(MIB)?;
    for page in 0..MIB / PAGE_SIZE {
        buffer.write(page * PAGE_SIZE);
    }

    let mut counts = Vec::new();
    for offset in offsets(operation) {
        let (fd, start, offset) = (file.as_raw_fd(), buffer.at(0).cast(), offset as i64);
        let (count, done) = clock::count(|| {
            // SAFETY: pread() and pwrite() access `len` bytes of `buffer`, which has 1 MiB. No
            // reference points into it.
            unsafe {
                if operation.is_read() {
                    libc::pread(fd, start, len, offset)
                } else {
                    libc::pwrite(fd, start, len, offset)
                }
            }
        });
        if done != len as isize {
            return Err(io::Error::last_os_error());
        }
        counts.push(count);
    }
    Ok(clock::median(counts))
}
