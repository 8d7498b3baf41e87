// SPDX-License-Identifier: GPL-2.0

//! From a memory failure to the signal.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::signal::{sigaction, SaFlags, SigAction, SigHandler, SigSet, Signal};

use crate::clock;
use crate::mapping::Mapping;
use crate::PAGE_SIZE;

/// Each round takes another page of the files, for the last one's page is lost.
const ROUNDS: usize = 15;

/// When the signal arrived.
static SIGNALLED: AtomicU64 = AtomicU64::new(0);

extern "C" fn on_sigbus(_: libc::c_int) {
    SIGNALLED.store(clock::now(), Ordering::SeqCst);
}

fn catch_sigbus() -> io::Result<()> {
    let action = SigAction::new(
        SigHandler::Handler(on_sigbus),
        SaFlags::empty(),
        SigSet::empty(),
    );
    // SAFETY: `on_sigbus` only stores to an atomic.
    unsafe { sigaction(Signal::SIGBUS, &action) }?;

    // SAFETY: PR_MCE_KILL takes integers only.
    let ret = unsafe {
        libc::prctl(
            libc::PR_MCE_KILL,
            libc::PR_MCE_KILL_SET,
            libc::PR_MCE_KILL_EARLY,
            0,
            0,
        )
    };
    check(ret)
}

fn check(ret: libc::c_int) -> io::Result<()> {
    if ret == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
}

/// A file, and `count - 1` copies that share its memory.
fn make_files(directory: &Path, count: usize) -> io::Result<Vec<File>> {
    let mut first = create(&directory.join("file"))?;
    first.write_all(&vec![1; (ROUNDS + 1) * PAGE_SIZE])?;
    first.sync_all()?;

    let mut files = vec![first];
    for number in 1..count {
        let copy = create(&directory.join(format!("copy{number}")))?;
        // SAFETY: FICLONE takes the descriptor of a file.
        check(unsafe { libc::ioctl(copy.as_raw_fd(), libc::FICLONE, files[0].as_raw_fd()) })?;
        files.push(copy);
    }
    Ok(files)
}

fn round(files: &[File], page: usize) -> io::Result<u64> {
    let mappings = files
        .iter()
        .map(|file| Mapping::of_file(file, page * PAGE_SIZE, PAGE_SIZE, PAGE_SIZE))
        .collect::<io::Result<Vec<_>>>()?;
    for mapping in &mappings {
        mapping.read(0);
    }
    SIGNALLED.store(0, Ordering::SeqCst);

    let start = clock::now();
    // SAFETY: the page belongs to a mapping that no reference points into.
    check(unsafe { libc::madvise(mappings[0].at(0).cast(), PAGE_SIZE, libc::MADV_HWPOISON) })?;

    match SIGNALLED.load(Ordering::SeqCst) {
        0 => Err(io::Error::other("there was no SIGBUS")),
        signalled => Ok(signalled.saturating_sub(start)),
    }
}

/// What it takes from a failure to the signal, with a page that `sharers` files share.
pub fn run(directory: &Path, sharers: usize) -> io::Result<u64> {
    catch_sigbus()?;
    fs::create_dir_all(directory)?;
    let files = make_files(directory, sharers)?;

    // The first is not counted: the kernel may have to get what it needs from the disk.
    round(&files, ROUNDS)?;
    let counts = (0..ROUNDS)
        .map(|page| round(&files, page))
        .collect::<io::Result<_>>()?;
    Ok(clock::median(counts))
}
