// SPDX-License-Identifier: GPL-2.0

//! Counts the instructions from a memory failure to the signal, and in the holder of the device.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::signal::{sigaction, SaFlags, SigAction, SigHandler, SigSet, Signal};
use nix::unistd::syncfs;

use crate::clock;
use crate::mapping::{Mapping, PAGE_SIZE};
use crate::tracer::Tracer;

/// Number of rounds. Each round takes another page, because the page of the previous round is
/// poisoned.
const ROUNDS: usize = 15;

/// Number of pages of the files: one page for the round that is not counted, and two series of
/// `ROUNDS` pages.
const PAGES: usize = 1 + 2 * ROUNDS;

/// The kernel function that notifies the holder of the device, and the kernel function by which the
/// holder signals processes.
const NOTIFY: &str = "dax_holder_notify_failure";
const KILL: &str = "mf_dax_kill_procs";

/// The clock at the arrival of the signal.
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
    // SAFETY: `on_sigbus()` only reads the clock and stores to an atomic, which is
    // async-signal-safe.
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
    first.write_all(&vec![1; PAGES * PAGE_SIZE])?;
    first.sync_all()?;

    let mut files = vec![first];
    for number in 1..count {
        let copy = create(&directory.join(format!("copy{number}")))?;
        // SAFETY: FICLONE takes two descriptors, and both files are open.
        check(unsafe { libc::ioctl(copy.as_raw_fd(), libc::FICLONE, files[0].as_raw_fd()) })?;
        files.push(copy);
    }
    Ok(files)
}

/// Injects a failure of the page that all files share. Returns the number of instructions from the
/// failure to the signal.
fn round(files: &[File], page: usize) -> io::Result<u64> {
    let mappings = files
        .iter()
        .map(|file| Mapping::of_file(file, page * PAGE_SIZE, PAGE_SIZE, PAGE_SIZE))
        .collect::<io::Result<Vec<_>>>()?;
    for mapping in &mappings {
        mapping.read(0);
    }
    SIGNALLED.store(0, Ordering::SeqCst);
    clock::let_others_run();

    let start = clock::now();
    // SAFETY: The page belongs to a mapping that no reference points into.
    check(unsafe { libc::madvise(mappings[0].at(0).cast(), PAGE_SIZE, libc::MADV_HWPOISON) })?;

    match SIGNALLED.load(Ordering::SeqCst) {
        0 => Err(io::Error::other("there was no SIGBUS")),
        signalled => Ok(signalled.saturating_sub(start)),
    }
}

/// Counts the instructions of all calls of a kernel function in a round. Returns the minimum of the
/// rounds, because disturbances only add instructions. For example, each call that signals
/// processes walks over all processes, and some processes exist only during some rounds.
fn count_calls(function: &str, files: &[File], pages: Range<usize>) -> io::Result<u64> {
    let tracer = Tracer::new(function)?;

    let counts = pages.map(|page| {
        tracer.clear()?;
        round(files, page)?;
        tracer.count()
    });

    Ok(counts
        .collect::<io::Result<Vec<_>>>()?
        .into_iter()
        .min()
        .unwrap_or(0))
}

/// Makes files that share pages. Runs one round that is not counted, because the kernel reads some
/// metadata from the disk in the first round.
fn prepare(directory: &Path, sharers: usize) -> io::Result<Vec<File>> {
    catch_sigbus()?;
    fs::create_dir_all(directory)?;
    let files = make_files(directory, sharers)?;
    // Write back now, so that no writeback happens during a count.
    syncfs(files[0].as_raw_fd())?;
    round(&files, 0)?;
    Ok(files)
}

/// Counts the instructions from a failure to the signal, for a page that `sharers` files share.
pub fn run(directory: &Path, sharers: usize) -> io::Result<u64> {
    let files = prepare(directory, sharers)?;

    let counts = (1..1 + ROUNDS).map(|page| round(&files, page));

    Ok(clock::median(counts.collect::<io::Result<_>>()?))
}

/// Counts the instructions in the holder of the device, without the calls that signal processes.
pub fn run_holder(directory: &Path, sharers: usize) -> io::Result<u64> {
    let files = prepare(directory, sharers)?;

    // Trace one function after the other, because the tracing of the inner function would add
    // instructions to the outer function.
    let all = count_calls(NOTIFY, &files, 1..1 + ROUNDS)?;
    let signalling = count_calls(KILL, &files, 1 + ROUNDS..PAGES)?;

    Ok(all.saturating_sub(signalling))
}
