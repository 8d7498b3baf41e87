// SPDX-License-Identifier: GPL-2.0

//! Runs random operations on the files of a directory and on a model in memory, and compares the
//! two.
//!
//! `fsmodel run --seed 7 --seconds 60 /mnt/d` works in the empty directory `/mnt/d`. The exit
//! status is 0 if the files always matched the model. It is 1 if they did not, and the output names
//! the seed, the operation and the difference. It is 2 if the output cannot be written.
//!
//! The operations depend only on the seed, not on the filesystem. So `fsmodel check` can compute
//! the expected files after a crash or a mount from the seed and the number of finished operations,
//! which `--progress` stores in a file.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};
use cli::Unwritten;

mod contents;
mod crash;
mod disk;
mod model;
mod operation;
mod random;
mod sequences;
mod span;
mod state;
mod stress;
mod sys;

use disk::Disk;
use model::Model;
use operation::Operation;
use random::Random;
use span::PAGE;
use stress::Stress;

/// The number of operations that are printed after a failure, with the failed one last.
const SHOWN: usize = 20;

#[derive(Parser)]
#[command(about, version)]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run operations in an empty directory.
    Run {
        #[command(flatten)]
        common: Common,
        /// The maximum number of operations.
        #[arg(long, default_value_t = u64::MAX)]
        ops: u64,
        /// The maximum time in seconds.
        #[arg(long, default_value_t = u64::MAX)]
        seconds: u64,
        /// A file to write the number of finished operations to, after each operation.
        #[arg(long)]
        progress: Option<PathBuf>,
        /// Make each operation on contents durable before the next one.
        #[arg(long)]
        sync: bool,
        /// A file to append the physical address of each failed page to, one per line.
        #[arg(long)]
        failed: Option<PathBuf>,
        /// A command that remounts the filesystem.
        #[arg(long)]
        remount: Option<String>,
    },
    /// Compare a directory with the expected files after a run.
    Check {
        #[command(flatten)]
        common: Common,
        /// The file with the number of finished operations.
        #[arg(long)]
        progress: PathBuf,
        /// The run was not interrupted, so no operation can be half done.
        #[arg(long)]
        ended: bool,
    },
    /// Run all short sequences of operations from a fixed set, each in its own directory.
    Sequences {
        #[command(flatten)]
        longer: Longer,
        /// An empty directory.
        folder: PathBuf,
    },
    /// Check the states that a power failure can leave of a mendfs during these sequences.
    States {
        #[command(flatten)]
        longer: Longer,
        #[command(flatten)]
        request: crash::Request,
    },
    /// Run operations in a directory that other processes change at the same time.
    Stress {
        #[command(flatten)]
        common: Common,
        /// The time in seconds.
        #[arg(long)]
        seconds: u64,
    },
}

/// Sequences in addition to all sequences of one and two operations.
#[derive(Args)]
struct Longer {
    /// The number of sequences of three operations.
    #[arg(long, default_value_t = 0)]
    longer: usize,
    /// The seed that selects the sequences of three operations.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Args)]
struct Common {
    /// The seed of the operations.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The number of names.
    #[arg(long, default_value_t = 12)]
    names: usize,
    /// The maximum size of a file in pages.
    #[arg(long, default_value_t = 768)]
    pages: usize,
    /// Let memory fail: a run makes pages fail, and a stress test tolerates errors of failed
    /// memory.
    #[arg(long)]
    failures: bool,
    /// The directory of the files.
    folder: PathBuf,
}

impl Common {
    fn model(&self) -> Model {
        Model::new(self.names.max(1), self.limit(), self.failures)
    }

    fn limit(&self) -> usize {
        self.pages.max(1) * PAGE
    }
}

/// The limits of a run.
struct Limit {
    ops: u64,
    end: Option<Instant>,
}

impl Limit {
    fn is_over(&self, done: u64) -> bool {
        done >= self.ops || self.end.is_some_and(|end| Instant::now() >= end)
    }
}

fn main() -> ExitCode {
    cli::run(2, 2, |cli: Cli| Ok(act(cli.action)?))
}

fn act(action: Action) -> Result<u8, Unwritten> {
    let result = match action {
        Action::Run {
            common,
            ops,
            seconds,
            progress,
            sync,
            failed,
            remount,
        } => {
            let limit = Limit {
                ops,
                end: Instant::now().checked_add(Duration::from_secs(seconds)),
            };
            let disk = Disk::new(
                &common.folder,
                common.limit(),
                disk::Options {
                    syncs: sync,
                    failed,
                    remount,
                },
            );

            run(&common, disk, &limit, progress.as_deref())
        }
        Action::Check {
            common,
            progress,
            ended,
        } => check(&common, &progress, ended),
        Action::Sequences { longer, folder } => sequences::run(&folder, longer.longer, longer.seed)
            .map(|count| format!("{count} sequences")),
        Action::States { longer, request } => {
            crash::check(&request, &sequences::all(longer.longer, longer.seed))
        }
        Action::Stress { common, seconds } => stress(&common, seconds),
    };

    match &result {
        Ok(summary) => cli::print(summary),
        Err(wrong) => cli::print(wrong),
    }?;
    Ok(u8::from(result.is_err()))
}

fn run(
    common: &Common,
    mut disk: Disk,
    limit: &Limit,
    progress: Option<&Path>,
) -> Result<String, String> {
    let mut random = Random::new(common.seed);
    let mut model = common.model();
    let mut last = VecDeque::new();
    let mut done = 0;

    disk.prepare()?;

    let progress = progress.map(Progress::create).transpose()?;

    while !limit.is_over(done) {
        let operation = model.choose(&mut random);

        last.push_back(operation);
        if last.len() > SHOWN {
            last.pop_front();
        }
        disk.apply(&model, operation)
            .map_err(|wrong| describe_failure(common.seed, done, &last, &wrong))?;
        model.apply(operation);
        done += 1;
        if let Some(progress) = &progress {
            progress.write(done)?;
        }
    }
    disk.apply(&model, Operation::Compare)
        .map_err(|wrong| describe_failure(common.seed, done, &last, &wrong))?;
    Ok(format!("seed {}: {done} operations", common.seed))
}

/// The file with the number of finished operations.
struct Progress(File);

impl Progress {
    fn create(path: &Path) -> Result<Self, String> {
        let progress = Self(File::create(path).map_err(describe_error)?);

        progress.write(0)?;
        Ok(progress)
    }

    fn write(&self, done: u64) -> Result<(), String> {
        self.0
            .write_all_at(&done.to_le_bytes(), 0)
            .map_err(describe_error)
    }
}

fn describe_error(error: std::io::Error) -> String {
    format!("the file for --progress: {error}")
}

fn describe_failure(seed: u64, number: u64, last: &VecDeque<Operation>, wrong: &str) -> String {
    let first = (number + 1).saturating_sub(last.len() as u64);
    let lines: Vec<_> = (first..)
        .zip(last)
        .map(|(number, operation)| format!("{number}: {operation:?}"))
        .collect();

    format!(
        "{}\nseed {seed}, operation {number}: {wrong}",
        lines.join("\n")
    )
}

fn check(common: &Common, progress: &Path, ended: bool) -> Result<String, String> {
    let bytes = fs::read(progress).map_err(|e| format!("{}: {e}", progress.display()))?;
    let done = bytes
        .first_chunk()
        .map_or(0, |done| u64::from_le_bytes(*done));
    let mut random = Random::new(common.seed);
    let mut before = common.model();
    let mut last = None;

    for _ in 0..done {
        let operation = before.choose(&mut random);

        before.apply(operation);
        last = Some(operation);
    }

    let mut after = before.clone();
    let next = after.choose(&mut random);

    if !ended {
        after.apply(next);
    }
    state::compare(&common.folder, &before, &after).map_err(|wrong| {
        format!(
            "seed {}, after {done} operations, last {last:?}, next {next:?}: {wrong}",
            common.seed
        )
    })?;
    Ok(format!(
        "seed {}: correct after {done} operations",
        common.seed
    ))
}

fn stress(common: &Common, seconds: u64) -> Result<String, String> {
    let end = Instant::now() + Duration::from_secs(seconds);
    let done = Stress::new(&common.folder, common.limit(), common.seed, common.failures)
        .map_err(|e| e.to_string())?
        .run(end)
        .map_err(|wrong| format!("seed {}: {wrong}", common.seed))?;

    Ok(format!("seed {}: {done}", common.seed))
}
