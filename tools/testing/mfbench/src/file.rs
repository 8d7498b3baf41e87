// SPDX-License-Identifier: GPL-2.0

//! Operations on files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::clock;
use crate::mapping::PAGE_SIZE;
use crate::random::Random;

const ROUNDS: usize = 500;

/// The length of the file that is read and written, in bytes.
const LEN: usize = 8192 * PAGE_SIZE;

/// Number of names of one file, at most: the limit of ext4 is 65,000.
const MAX_LINKS: usize = 50_000;

/// Number of extents of the file that is truncated.
const EXTENTS: usize = 20_000;

/// The operation that is counted.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Operation {
    /// Create an empty file.
    Create,
    /// Remove an empty file.
    Unlink,
    /// Create a directory.
    Mkdir,
    /// Give a file another name in its directory.
    Rename,
    /// Look up one of the names that the directory was made with, without a dentry in the cache.
    Lookup,
    /// Append 4 KiB, and make them durable (fsync).
    Append,
    /// Append 1 KiB. Every fourth append allocates a block, so the count is a quarter of four
    /// appends.
    #[value(name = "append-1k")]
    Append1k,
    /// Append 16 KiB.
    #[value(name = "append-16k")]
    Append16k,
    /// Read 4 KiB at random offsets.
    Read,
    /// Read 16 KiB at random offsets.
    #[value(name = "read-16k")]
    Read16k,
    /// Overwrite 4 KiB at random offsets.
    Overwrite,
    /// Truncate a file of 20,000 extents of one block each.
    Truncate,
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
}

fn paths(directory: &Path, name: &str) -> Vec<PathBuf> {
    (0..ROUNDS)
        .map(|number| directory.join(format!("{name}{number}")))
        .collect()
}

/// The path of name `number` in a directory that [`make_directory()`] has made.
fn other_path(directory: &Path, number: usize) -> PathBuf {
    directory.join(format!("other{number}"))
}

/// Makes a directory with this number of names, unless it exists.
fn make_directory(directory: &Path, names: usize) -> io::Result<()> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        made => made?,
    }
    for number in 0..names {
        let path = other_path(directory, number);

        match number % MAX_LINKS {
            0 => drop(create(&path)?),
            link => fs::hard_link(other_path(directory, number - link), &path)?,
        }
    }
    Ok(())
}

/// The median of the instructions of `operation` on each item of `all`.
fn count_each<T>(
    all: impl IntoIterator<Item = T>,
    mut operation: impl FnMut(T) -> io::Result<()>,
) -> io::Result<u64> {
    let mut counts = Vec::new();

    for one in all {
        let (count, done) = clock::count(|| operation(one));

        done?;
        counts.push(count);
    }
    Ok(clock::median(counts))
}

fn create_files(directory: &Path) -> io::Result<u64> {
    let mut files = Vec::new();

    files.reserve(ROUNDS);
    count_each(&paths(directory, "new"), |path| {
        files.push(create(path)?);
        Ok(())
    })
}

/// Creates files before a count.
fn create_uncounted(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let paths = paths(directory, "file");

    for path in &paths {
        create(path)?;
    }
    Ok(paths)
}

fn rename_files(directory: &Path) -> io::Result<u64> {
    let names = paths(directory, "renamed");

    count_each(
        create_uncounted(directory)?.iter().zip(&names),
        |(from, to)| fs::rename(from, to),
    )
}

/// Counts lookups of names without dentries. Earlier lookups of the other names have already read
/// the metadata that the filesystem needs.
fn look_up(directory: &Path, names: usize) -> io::Result<u64> {
    let find = |number| fs::metadata(other_path(directory, number)).map(drop);
    let step = names / ROUNDS;

    // 2: drop dentries and inodes.
    fs::write("/proc/sys/vm/drop_caches", "2")?;
    for number in (0..names).filter(|number| number % step != 0) {
        find(number)?;
    }
    count_each((0..names).step_by(step), find)
}

fn append(file: &mut File) -> io::Result<u64> {
    let page = [1; PAGE_SIZE];

    count_each(0..ROUNDS, |_| {
        file.write_all(&page)?;
        file.sync_all()
    })
}

/// Counts `times` appends of `len` bytes each, and returns the count of one.
fn extend(file: &mut File, len: usize, times: usize) -> io::Result<u64> {
    let bytes = vec![1; len];
    let count = count_each(0..ROUNDS, |_| {
        (0..times).try_for_each(|_| file.write_all(&bytes))
    })?;

    Ok(count / times as u64)
}

fn transfer(file: &mut File, len: usize, is_read: bool) -> io::Result<u64> {
    let mut bytes = vec![1; len];

    for _ in 0..LEN / len {
        file.write_all(&bytes)?;
    }
    file.sync_all()?;

    let offsets = Random::new().map(|number| (number % (LEN / len) * len) as u64);

    count_each(offsets.take(ROUNDS), |offset| {
        if is_read {
            file.read_exact_at(&mut bytes, offset)
        } else {
            file.write_all_at(&bytes, offset)
        }
    })
}

/// `struct fiemap` of `linux/fiemap.h` without room for extents: `FS_IOC_FIEMAP` only counts the
/// extents then.
#[repr(C)]
struct Fiemap {
    start: u64,
    len: u64,
    flags: u32,
    extents: u32,
    room: u32,
    reserved: u32,
}

nix::ioctl_readwrite!(fiemap, b'f', 11, Fiemap);

/// The number of extents of a file.
fn extents(file: &File) -> io::Result<u32> {
    let mut map = Fiemap {
        start: 0,
        len: u64::MAX,
        flags: 0,
        extents: 0,
        room: 0,
        reserved: 0,
    };

    // SAFETY: `Fiemap` has the layout of `struct fiemap`. With `room` 0, FS_IOC_FIEMAP writes no
    // extents after it.
    unsafe { fiemap(file.as_raw_fd(), &mut map) }?;
    Ok(map.extents)
}

fn truncate(file: &File) -> io::Result<u64> {
    let page = [1; PAGE_SIZE];

    // Set the size first, because XFS preallocates more than one block at the end of a file.
    file.set_len((2 * EXTENTS * PAGE_SIZE) as u64)?;
    for number in 0..EXTENTS {
        file.write_all_at(&page, (2 * number * PAGE_SIZE) as u64)?;
    }
    file.sync_all()?;
    if extents(file)? as usize != EXTENTS {
        return Err(io::Error::other("the file does not have 20,000 extents"));
    }
    count_each([file], |file| file.set_len(0))
}

/// Counts the instructions of one operation in a directory. Makes the directory with `names` names,
/// unless it exists.
pub fn run(directory: &Path, names: usize, operation: Operation) -> io::Result<u64> {
    let path = directory.join("contents");

    make_directory(directory, names)?;
    match operation {
        Operation::Create => create_files(directory),
        Operation::Unlink => count_each(&create_uncounted(directory)?, fs::remove_file),
        Operation::Mkdir => count_each(&paths(directory, "new"), fs::create_dir),
        Operation::Rename => rename_files(directory),
        Operation::Lookup => look_up(directory, names),
        Operation::Append => append(&mut create(&path)?),
        Operation::Append1k => extend(&mut create(&path)?, PAGE_SIZE / 4, 4),
        Operation::Append16k => extend(&mut create(&path)?, 4 * PAGE_SIZE, 1),
        Operation::Read => transfer(&mut create(&path)?, PAGE_SIZE, true),
        Operation::Read16k => transfer(&mut create(&path)?, 4 * PAGE_SIZE, true),
        Operation::Overwrite => transfer(&mut create(&path)?, PAGE_SIZE, false),
        Operation::Truncate => truncate(&create(&path)?),
    }
}
