// SPDX-License-Identifier: GPL-2.0

//! Counts the instructions that operations of the DAX memory-failure chain take.
//!
//! All subcommands but `report` run in a guest whose clock counts instructions, and print the
//! instructions of one operation: the median of many, with a few exceptions. `mfbench report` runs
//! on the host: it compares the counts of both sides, and exits 1 if a ratio is over its bound.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod clock;
mod fault;
mod file;
mod mapping;
mod mount;
mod notify;
mod random;
mod report;
mod tracer;
mod transfer;

use fault::Size;
use transfer::Operation;

#[derive(Parser)]
#[command(about, version)]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// From `madvise(MADV_HWPOISON)` to the handler of SIGBUS.
    Notify {
        /// Mappings of the page: one of a file, the others of reflinked copies.
        #[arg(long, default_value_t = 1)]
        sharers: usize,
        /// A directory on a DAX filesystem with reflink.
        directory: PathBuf,
    },
    /// The part of `notify` in the holder of the device, without `mf_dax_kill_procs()`.
    Holder {
        /// Mappings of the page: one of a file, the others of reflinked copies.
        #[arg(long, default_value_t = 1)]
        sharers: usize,
        /// A directory on a DAX filesystem with reflink and a reverse map.
        directory: PathBuf,
    },
    /// A transfer from or to a disk, with direct I/O.
    Transfer {
        /// The operation.
        #[arg(value_enum)]
        operation: Operation,
        /// The disk. Its contents are overwritten.
        disk: PathBuf,
    },
    /// The first access to a page of a mapped file.
    Fault {
        /// The size of the page.
        #[arg(value_enum)]
        size: Size,
        /// Write to the page instead of reading from it.
        #[arg(long)]
        write: bool,
        /// A file on a DAX filesystem. It is created or truncated.
        file: PathBuf,
    },
    /// An operation on files.
    File {
        /// The operation.
        #[arg(value_enum)]
        operation: file::Operation,
        /// Number of other names in the directory.
        #[arg(long, default_value_t = 0)]
        names: usize,
        /// The directory. It is made if it does not exist.
        directory: PathBuf,
    },
    /// A mount of mendfs.
    Mount {
        /// Number of extents of the filesystem: files of 1000 extents each.
        #[arg(long)]
        extents: u64,
        /// The disk. Its contents are overwritten.
        disk: PathBuf,
        /// The mount point.
        directory: PathBuf,
    },
    /// Compare counts: lines `ours|peer NAME COUNT` on standard input.
    Report(report::Options),
}

fn run(action: Action) -> Result<bool, Box<dyn Error>> {
    if !matches!(action, Action::Report(_)) {
        clock::run_alone()?;
    }
    let count = match action {
        Action::Notify { sharers, directory } => notify::run(&directory, sharers)?,
        Action::Holder { sharers, directory } => notify::run_holder(&directory, sharers)?,
        Action::Transfer { operation, disk } => transfer::run(&disk, operation)?,
        Action::Fault { size, write, file } => fault::run(&file, size, write)?,
        Action::File {
            operation,
            names,
            directory,
        } => file::run(&directory, names, operation)?,
        Action::Mount {
            extents,
            disk,
            directory,
        } => mount::run(&disk, &directory, extents)?,
        Action::Report(options) => return report::run(&options),
    };
    cli::print(count)?;
    Ok(true)
}

fn main() -> ExitCode {
    cli::run(2, 2, |cli: Cli| {
        run(cli.action).map(|holds| u8::from(!holds))
    })
}
