// SPDX-License-Identifier: GPL-2.0

//! Does random operations on the files of a directory and on a model of them in memory, and
//! compares the two.
//!
//! `fsmodel run --seed 7 --seconds 60 /mnt/d` works in the empty directory `/mnt/d`. It exits 0 if
//! all was as the model, 1 having said which operation of which seed found what, and 2 if it cannot
//! say so. The same seed makes the same operations, whatever the filesystem does. So
//! `fsmodel check` can tell what the files must be after a crash, or a mount, with nothing but the
//! seed and the number of operations that were done, which `--progress` keeps in a file.

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

/// How many operations are shown before the one that failed.
const SHOWN: usize = 20;

#[derive(Parser)]
#[command(about, version)]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Do operations in a directory, which is empty.
    Run {
        #[command(flatten)]
        common: Common,
        /// How many.
        #[arg(long, default_value_t = u64::MAX)]
        ops: u64,
        /// For how long at most.
        #[arg(long, default_value_t = u64::MAX)]
        seconds: u64,
        /// A file that is told how many are done, after each.
        #[arg(long)]
        progress: Option<PathBuf>,
        /// Make each operation on contents durable before the next.
        #[arg(long)]
        sync: bool,
        /// A file that is told where in physical memory a page has failed, a line for each.
        #[arg(long)]
        failed: Option<PathBuf>,
        /// A command that mounts the filesystem again.
        #[arg(long)]
        remount: Option<String>,
    },
    /// Compare a directory with what a run has left.
    Check {
        #[command(flatten)]
        common: Common,
        /// The file that was told how many operations were done.
        #[arg(long)]
        progress: PathBuf,
        /// The run ended by itself: there was no operation under way.
        #[arg(long)]
        ended: bool,
    },
    /// Do all short sequences of operations from a fixed set, each in a directory of its own.
    Sequences {
        #[command(flatten)]
        longer: Longer,
        /// A directory, which is empty.
        folder: PathBuf,
    },
    /// Check what power failures may leave of a mendfs in which these sequences were done.
    States {
        #[command(flatten)]
        longer: Longer,
        #[command(flatten)]
        request: crash::Request,
    },
    /// Do operations in a directory in which others may do so, too.
    Stress {
        #[command(flatten)]
        common: Common,
        /// For how long.
        #[arg(long)]
        seconds: u64,
    },
}

/// Sequences beside all those of one and two operations.
#[derive(Args)]
struct Longer {
    /// How many there are of three operations.
    #[arg(long, default_value_t = 0)]
    longer: usize,
    /// What they follow from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Args)]
struct Common {
    /// What the operations follow from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many names there are.
    #[arg(long, default_value_t = 12)]
    names: usize,
    /// How large a file gets, in pages.
    #[arg(long, default_value_t = 768)]
    pages: usize,
    /// Memory fails: by operations of a run, or while others work, too.
    #[arg(long)]
    failures: bool,
    /// Where the files are.
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

/// When a run ends.
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
        Ok(said) => cli::print(said),
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
            .map_err(|wrong| story(common.seed, done, &last, &wrong))?;
        model.apply(operation);
        done += 1;
        if let Some(progress) = &progress {
            progress.tell(done)?;
        }
    }
    disk.apply(&model, Operation::Compare)
        .map_err(|wrong| story(common.seed, done, &last, &wrong))?;
    Ok(format!("seed {}: {done} operations", common.seed))
}

/// A file that is told how many operations are done.
struct Progress(File);

impl Progress {
    fn create(path: &Path) -> Result<Self, String> {
        let progress = Self(File::create(path).map_err(untold)?);

        progress.tell(0)?;
        Ok(progress)
    }

    fn tell(&self, done: u64) -> Result<(), String> {
        self.0.write_all_at(&done.to_le_bytes(), 0).map_err(untold)
    }
}

fn untold(error: std::io::Error) -> String {
    format!("the file for the progress: {error}")
}

fn story(seed: u64, number: u64, last: &VecDeque<Operation>, wrong: &str) -> String {
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
            "seed {}, after {done} operations, the last {last:?}, the next {next:?}: {wrong}",
            common.seed
        )
    })?;
    Ok(format!("seed {}: as after {done} operations", common.seed))
}

fn stress(common: &Common, seconds: u64) -> Result<String, String> {
    let end = Instant::now() + Duration::from_secs(seconds);
    let done = Stress::new(&common.folder, common.limit(), common.seed, common.failures)
        .map_err(|e| e.to_string())?
        .run(end)
        .map_err(|wrong| format!("seed {}: {wrong}", common.seed))?;

    Ok(format!("seed {}: {done}", common.seed))
}
