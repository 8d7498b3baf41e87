// SPDX-License-Identifier: GPL-2.0

//! Random operations on files that other processes change at the same time. The contents are not
//! checked, because they cannot be predicted. The test fails if an operation returns an unexpected
//! error.

use std::fmt::{self, Display, Formatter};
use std::fs::{self, File};
use std::io::{self, Error};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{symlink, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{self, FallocateFlags, RenameFlags};
use nix::sys::memfd::{self, MemFdCreateFlag};
use nix::sys::stat;
use nix::unistd::{self, Whence};

use crate::random::{self, Random};
use crate::span::{Span, PAGE};
use crate::sys::{self, Mapping};

/// The maximum number of open files.
const OPEN: usize = 6;

/// The errors of impossible operations, and of conflicts with other processes.
const EXPECTED: [i32; 15] = [
    libc::EBUSY,
    libc::EEXIST,
    libc::EFAULT,
    libc::EINVAL,
    libc::EISDIR,
    libc::ELOOP,
    libc::EMLINK,
    libc::ENODATA,
    libc::ENOENT,
    libc::ENOSPC,
    libc::ENOTDIR,
    libc::ENOTEMPTY,
    libc::ENXIO,
    libc::EPERM,
    libc::ETXTBSY,
];

/// The errors of operations on bad memory.
const FAILURES: [i32; 2] = [libc::EHWPOISON, libc::EIO];

struct Open {
    file: File,
    mapping: Mapping,
}

/// The statistics of a stress test.
#[derive(Default)]
pub struct Done {
    /// The number of operations that succeeded.
    count: u64,
    /// The time and the number of the slowest operation.
    slowest: (Duration, usize),
}

impl Display for Done {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (time, which) = self.slowest;

        write!(
            f,
            "{} operations, the slowest {time:.1?} ({which})",
            self.count
        )
    }
}

/// A stress test in a folder.
pub struct Stress {
    folder: PathBuf,
    limit: usize,
    random: Random,
    open: Vec<Open>,
    /// The source and target of transfers to and from mappings. The kernel accesses the mappings,
    /// because a system call fails with `EFAULT` if another process has truncated the file. A
    /// direct access would raise SIGBUS.
    scratch: File,
    /// Whether memory can fail.
    fails: bool,
}

impl Stress {
    /// Prepares a test in `folder` with files of at most `limit` bytes. `fails` says whether memory
    /// can fail.
    pub fn new(folder: &Path, limit: usize, seed: u64, fails: bool) -> io::Result<Self> {
        let scratch = memfd::memfd_create(c"scratch", MemFdCreateFlag::empty())?;
        let scratch = File::from(scratch);

        scratch.write_all_at(&random::bytes(seed, limit), 0)?;
        if fails {
            sys::ignore_failures()?;
        }
        Ok(Self {
            folder: folder.into(),
            limit,
            random: Random::new(seed),
            open: Vec::new(),
            scratch,
            fails,
        })
    }

    /// Runs operations until `end`.
    pub fn run(&mut self, end: Instant) -> Result<Done, String> {
        let mut done = Done::default();
        let mut start = Instant::now();

        while start < end {
            let which = self.random.below(100);

            match self.step(which) {
                Ok(()) => done.count += 1,
                Err(error) if is_expected(&error) => {}
                Err(error) if self.fails && is_failure(&error) => {}
                Err(error) => return Err(format!("operation {which}: {error}")),
            }

            let now = Instant::now();

            done.slowest = done.slowest.max((now - start, which));
            start = now;
        }
        Ok(done)
    }

    fn step(&mut self, which: usize) -> io::Result<()> {
        match which {
            0..10 => self.open_any(),
            10..13 => fs::create_dir(self.path()),
            13 => fs::remove_dir(self.path()),
            14..16 => symlink("somewhere", self.path()),
            16..22 => fs::remove_file(self.path()),
            22..30 => self.rename(),
            30..34 => fs::hard_link(self.path(), self.path()),
            34 => self.open_temporary(),
            35..39 => self.list(),
            _ if self.open.is_empty() => Ok(()),
            39..43 => self.attributes(),
            43 => {
                let index = self.random.below(self.open.len());

                self.open.swap_remove(index);
                Ok(())
            }
            44..72 => self.transfer(),
            _ => self.change(which),
        }
    }

    /// A random path, possibly in directories that other processes rename.
    fn path(&mut self) -> PathBuf {
        let mut path = self.folder.clone();

        for _ in 0..self.random.below(3) {
            path.push(format!("d{}", self.random.below(3)));
        }
        match self.random.once_in(4) {
            true => path.push(format!("d{}", self.random.below(3))),
            false => path.push(format!("f{}", self.random.below(6))),
        }
        path
    }

    fn add_open(&mut self, file: File) -> io::Result<()> {
        let mapping = Mapping::new(&file, self.limit)?;

        if self.open.len() == OPEN {
            let index = self.random.below(OPEN);

            self.open.swap_remove(index);
        }
        self.open.push(Open { file, mapping });
        Ok(())
    }

    fn open_any(&mut self) -> io::Result<()> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(self.random.once_in(16))
            .custom_flags(libc::O_NOFOLLOW)
            .open(self.path())?;

        self.add_open(file)
    }

    fn open_temporary(&mut self) -> io::Result<()> {
        let file = File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_TMPFILE)
            .open(&self.folder)?;
        let path = self.path();

        if self.random.once_in(2) {
            sys::link_open(file.as_raw_fd(), &path)?;
        }
        self.add_open(file)
    }

    fn rename(&mut self) -> io::Result<()> {
        let flags = match self.random.below(5) {
            0 => RenameFlags::RENAME_EXCHANGE,
            1 => RenameFlags::RENAME_NOREPLACE,
            2 => RenameFlags::RENAME_WHITEOUT,
            _ => RenameFlags::empty(),
        };
        let (from, to) = (self.path(), self.path());

        Ok(fcntl::renameat2(None, &from, None, &to, flags)?)
    }

    fn list(&mut self) -> io::Result<()> {
        let mut folders = vec![self.folder.clone()];

        while let Some(folder) = folders.pop() {
            let Ok(entries) = fs::read_dir(&folder) else {
                continue;
            };
            for entry in entries {
                let entry = entry?;

                match entry.metadata() {
                    Ok(stat) if stat.is_dir() && folders.len() < 8 => folders.push(entry.path()),
                    Ok(_) => {}
                    Err(error) if is_expected(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn attributes(&mut self) -> io::Result<()> {
        let index = self.random.below(self.open.len());
        let name = format!("user.{}", self.random.below(3));
        let len = self.random.below(3000);
        let value = random::bytes(self.random.number(), len);
        let file = &self.open[index].file;

        match self.random.below(6) {
            0..3 => sys::set_attribute(file, &name, &value),
            3 => sys::remove_attribute(file, &name),
            4 => sys::attribute(file, &name).map(drop),
            _ => sys::attributes(file).map(drop),
        }
    }

    /// A random range within the limit. Most ranges are small.
    fn span(&mut self) -> Span {
        let bits = match self.random.once_in(16) {
            true => self.limit.ilog2() as usize,
            false => 1 + self.random.below(15),
        };
        let len = 1 + self.random.below(1 << bits);
        let mut at = self.random.below(self.limit - len + 1);

        if self.random.once_in(2) {
            at &= !(PAGE - 1);
        }
        Span { at, len }
    }

    /// Transfers data between two files, or between a mapping and a file.
    fn transfer(&mut self) -> io::Result<()> {
        let span = self.span();
        let there = self.span();
        let from = self.random.below(self.open.len());
        let to = self.random.below(self.open.len());
        let which = self.random.below(11);
        let (from, to) = (&self.open[from], &self.open[to]);
        let (from_fd, to_fd) = (from.file.as_raw_fd(), to.file.as_raw_fd());
        let pages = Span {
            at: span.at & !(PAGE - 1),
            len: span.len.next_multiple_of(PAGE),
        };
        let to_page = there.at & !(PAGE - 1);

        match which {
            0 => sys::clone(from_fd, to_fd),
            1..4 => sys::clone_range(from_fd, pages, to_fd, to_page),
            4 => sys::dedupe_range(from_fd, pages, to_fd, to_page).map(drop),
            5 => {
                let (mut at, mut to_at) = (span.at as i64, there.at as i64);

                fcntl::copy_file_range(
                    &from.file,
                    Some(&mut at),
                    &to.file,
                    Some(&mut to_at),
                    span.len,
                )?;
                Ok(())
            }
            6 => from.mapping.write_to(span, &to.file, there.at).map(drop),
            7 => to.mapping.read_from(span, &from.file, there.at).map(drop),
            8 => from.mapping.write_to(span, &self.scratch, 0).map(drop),
            _ => to.mapping.read_from(span, &self.scratch, 0).map(drop),
        }
    }

    fn change(&mut self, which: usize) -> io::Result<()> {
        let span = self.span();
        let index = self.random.below(self.open.len());
        let bytes = random::bytes(self.random.number(), span.len);
        let keeps = self.random.below(2) as i32 * libc::FALLOC_FL_KEEP_SIZE;
        let Open { file, mapping } = &self.open[index];
        let fd = file.as_raw_fd();
        let allocate = |mode: i32| {
            let mode = FallocateFlags::from_bits_retain(mode);

            Ok(fcntl::fallocate(fd, mode, span.at as i64, span.len as i64)?)
        };

        let shift = || {
            let mode = match keeps {
                0 => libc::FALLOC_FL_COLLAPSE_RANGE,
                _ => libc::FALLOC_FL_INSERT_RANGE,
            };
            let (at, len) = (span.at & !(PAGE - 1), span.len.next_multiple_of(PAGE));
            let mode = FallocateFlags::from_bits_retain(mode);

            Ok(fcntl::fallocate(fd, mode, at as i64, len as i64)?)
        };

        match which {
            72..80 => file.write_all_at(&bytes, span.at as u64),
            80..83 => file
                .read_at(&mut vec![0; span.len], span.at as u64)
                .map(drop),
            83..87 => file.set_len(span.at as u64),
            87 | 88 => allocate(keeps),
            89 => allocate(libc::FALLOC_FL_UNSHARE_RANGE | keeps),
            90 | 91 => allocate(libc::FALLOC_FL_ZERO_RANGE | keeps),
            92 | 93 => allocate(libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE),
            94 => shift(),
            95 => {
                unistd::lseek(fd, span.at as i64, Whence::SeekData)?;
                unistd::lseek(fd, span.at as i64, Whence::SeekHole)?;
                Ok(())
            }
            96 => Ok(stat::fchmod(fd, stat::Mode::from_bits_truncate(0o644))?),
            97 => mapping.sync(span),
            98 => file.sync_data(),
            _ => file.sync_all(),
        }
    }
}

fn is_expected(error: &Error) -> bool {
    // The error of a short write has no errno.
    error
        .raw_os_error()
        .is_none_or(|number| EXPECTED.contains(&number))
}

fn is_failure(error: &Error) -> bool {
    error
        .raw_os_error()
        .is_some_and(|number| FAILURES.contains(&number))
}
