// SPDX-License-Identifier: GPL-2.0

//! Counts the instructions that the DAX memory-failure chain takes.
//!
//! All but `mfbench report` run in a guest whose clock counts instructions, and print the median of
//! what one operation took. `mfbench report` runs on the host: it compares what both sides took
//! with the bounds, and exits 1 if one is over its bound.

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
    /// What the holder of the device takes of that, without `mf_dax_kill_procs()`.
    Holder {
        /// As above.
        #[arg(long, default_value_t = 1)]
        sharers: usize,
        /// A directory on a DAX filesystem with reflink and a reverse map.
        directory: PathBuf,
    },
    /// A transfer from or to a disk, past the page cache.
    Transfer {
        /// What is done.
        #[arg(value_enum)]
        operation: Operation,
        /// The disk; what it holds is lost.
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
        /// A file on a DAX filesystem, made for it.
        file: PathBuf,
    },
    /// An operation on files.
    File {
        /// What is done.
        #[arg(value_enum)]
        operation: file::Operation,
        /// Names of others in the directory.
        #[arg(long, default_value_t = 0)]
        names: usize,
        /// A directory that is made for it, unless it is there.
        directory: PathBuf,
    },
    /// A mount of mendfs.
    Mount {
        /// Extents that it has, in thousands of files.
        #[arg(long)]
        extents: u64,
        /// The disk; what it holds is lost.
        disk: PathBuf,
        /// Where to mount it.
        directory: PathBuf,
    },
    /// Compare counts, which come as lines `ours|peer NAME COUNT` on standard input.
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
