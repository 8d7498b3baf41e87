// SPDX-License-Identifier: GPL-2.0

//! Page faults.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use clap::ValueEnum;

use crate::clock;
use crate::mapping::{Mapping, PAGE_SIZE};

const HUGE_SIZE: usize = 512 * PAGE_SIZE;

/// The length of the file in bytes.
const LEN: usize = 32 * HUGE_SIZE;

/// The size of the page that a fault maps.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Size {
    /// 4 KiB, an entry of the last level of the page table.
    Pte,
    /// 2 MiB, an entry of the level above.
    Pmd,
}

impl Size {
    fn len(self) -> usize {
        match self {
            Self::Pte => PAGE_SIZE,
            Self::Pmd => HUGE_SIZE,
        }
    }

    /// Length of one mapping, in bytes. The kernel maps no huge page into a mapping that is shorter
    /// than one.
    fn window(self) -> usize {
        match self {
            Self::Pte => HUGE_SIZE / 2,
            Self::Pmd => LEN,
        }
    }
}

/// Counts the instructions of one fault.
pub fn run(path: &Path, size: Size, write: bool) -> io::Result<u64> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    // SAFETY: fallocate() takes a descriptor and integers only.
    if unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, LEN as i64) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let touch = |mapping: &Mapping, offset, write| {
        if write {
            mapping.write(offset)
        } else {
            mapping.read(offset)
        }
    };

    let (mut first, mut second) = (Vec::new(), Vec::new());
    // The first round writes all pages. The second round counts faults on written pages.
    for counted in [false, true] {
        for start in (0..LEN).step_by(size.window()) {
            let mapping = Mapping::of_file(&file, start, size.window(), HUGE_SIZE)?;

            for offset in (0..size.window()).step_by(size.len()) {
                let (fault, ()) = clock::count(|| touch(&mapping, offset, write || !counted));
                let (access, ()) = clock::count(|| touch(&mapping, offset + size.len() - 1, false));

                if counted {
                    first.push(fault);
                    second.push(access);
                }
            }
        }
    }
    let (fault, access) = (clock::median(first), clock::median(second));
    if access > fault / 4 {
        return Err(io::Error::other(
            "the pages are too small: the second access to a page faulted, too",
        ));
    }
    Ok(fault)
}
