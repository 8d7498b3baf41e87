// SPDX-License-Identifier: GPL-2.0

//! Operations on files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::clock;
use crate::random::Random;
use crate::PAGE_SIZE;

const ROUNDS: usize = 500;

/// The length of the file that is read and written, in pages.
const PAGES: usize = 8192;

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Operation {
    /// Create an empty file.
    Create,
    /// Remove an empty file.
    Unlink,
    /// Write 4 KiB behind the end, and make them durable.
    Append,
    /// Read 4 KiB, here and there.
    Read,
    /// Write 4 KiB over others, here and there.
    Overwrite,
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
}

fn paths(directory: &Path) -> Vec<PathBuf> {
    (0..ROUNDS)
        .map(|number| directory.join(format!("file{number}")))
        .collect()
}

/// What `operation` takes, on each of `all`.
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
    count_each(&paths(directory), |path| {
        files.push(create(path)?);
        Ok(())
    })
}

fn unlink_files(directory: &Path) -> io::Result<u64> {
    let paths = paths(directory);

    for path in &paths {
        create(path)?;
    }
    count_each(&paths, fs::remove_file)
}

fn append(file: &mut File) -> io::Result<u64> {
    let page = [1; PAGE_SIZE];

    count_each(0..ROUNDS, |_| {
        file.write_all(&page)?;
        file.sync_all()
    })
}

fn transfer(file: &mut File, is_read: bool) -> io::Result<u64> {
    let mut page = [1; PAGE_SIZE];

    for _ in 0..PAGES {
        file.write_all(&page)?;
    }
    file.sync_all()?;

    let offsets = Random::new().map(|number| (number % PAGES * PAGE_SIZE) as u64);

    count_each(offsets.take(ROUNDS), |offset| {
        if is_read {
            file.read_exact_at(&mut page, offset)
        } else {
            file.write_all_at(&page, offset)
        }
    })
}

/// What one operation takes, in a directory that is made for it.
pub fn run(directory: &Path, operation: Operation) -> io::Result<u64> {
    let path = directory.join("file");

    fs::create_dir(directory)?;
    match operation {
        Operation::Create => create_files(directory),
        Operation::Unlink => unlink_files(directory),
        Operation::Append => append(&mut create(&path)?),
        Operation::Read => transfer(&mut create(&path)?, true),
        Operation::Overwrite => transfer(&mut create(&path)?, false),
    }
}
