// SPDX-License-Identifier: GPL-2.0

//! Injects one memory failure and checks which signal each process with the page receives.
//!
//! `mfchain run --source mce /mnt/a /mnt/b,offset=64K /mnt/c,quiet` starts one process for each
//! file. The process maps and touches the page. `mfchain` injects a failure into the page of the
//! first process, waits until the kernel has handled it, and prints the signal of each process. The
//! exit code is 0 if each process got exactly the expected signal, 1 if not, and 2 if the run was
//! not possible.

use std::convert::Infallible;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

mod child;
mod device;
mod errors;
mod process;
mod report;
mod source;
mod spec;
mod trace;
mod verdict;
mod watch;

use child::{describe, Answer, Process};
use device::{Device, Filesystem};
use errors::Listener;
use process::Command;
use report::Report;
use source::{KernelLog, Source};
use spec::{parse_bytes, Expect, Spec, PAGE_SIZE};
use trace::MceTrace;
use verdict::{due, Outcome, Verdict};
use watch::Watch;

#[derive(Parser)]
#[command(about, version)]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Start the processes, inject a failure into the page of the first one, and check the signals.
    Run {
        /// The source of the failure.
        #[arg(long, value_enum)]
        source: Source,
        /// The result of the recovery that the kernel log must have.
        #[arg(long, default_value = "Recovered")]
        recovery: String,
        /// How long to wait for the kernel, in seconds.
        #[arg(long, default_value_t = 60)]
        timeout: u64,
        /// A sysfs attribute that must be signalled (`POLLPRI`), such as a disk's `badblocks`.
        #[arg(long)]
        watch: Option<PathBuf>,
        /// `FILE[,offset=N][,length=N][,lsb=N][,private][,write][,late][,quiet]`.
        #[arg(required = true)]
        processes: Vec<Spec>,
    },
    /// Print the physical address of a page of a file.
    Phys {
        /// The file, which must be on a DAX filesystem.
        file: PathBuf,
        /// Offset in the file.
        #[arg(long, default_value = "0", value_parser = parse_bytes)]
        offset: u64,
    },
    /// Touch a page of a file; exits 1 and says why if that fails.
    Touch {
        /// `FILE[,offset=N][,length=N][,private][,write]`.
        process: Spec,
    },
    /// Print the errors that the filesystem reports to fanotify (`FAN_FS_ERROR`), until killed.
    /// The first line is `listening`.
    Errors {
        /// Mount point of the filesystem.
        path: PathBuf,
    },
    /// Map the page of a file, and wait for a signal. `run` starts this.
    #[command(hide = true)]
    Process {
        /// What to map.
        spec: Spec,
    },
}

/// Checks that a process maps the failed page if and only if it expects a signal.
///
/// # Errors
///
/// Names the first process that does not.
fn check_pages(processes: &[Process], phys: u64) -> Result<(), String> {
    for process in processes {
        if (process.phys == phys) != (process.spec.expect == Expect::Signal) {
            return Err(format!(
                "{}, offset {:#x} is at {:#x}, the failure at {phys:#x}",
                process.spec.file.display(),
                process.spec.offset,
                process.phys
            ));
        }
    }
    Ok(())
}

/// Ends a process, and returns its answer. A late process touches its page first.
fn finish(process: &mut Process) -> Answer {
    if process.spec.late {
        let answer = process.request(Command::Touch);
        if answer != Answer::Report(Report::Quiet) {
            return answer;
        }
    }
    process.request(Command::Finish)
}

fn run(source: Source, timeout: Duration, specs: Vec<Spec>) -> Result<Verdict, String> {
    let filesystem = Filesystem::of_file(&specs[0].file)?;
    let mut processes = specs
        .into_iter()
        .map(Process::start)
        .collect::<Result<Vec<_>, _>>()?;
    let phys = processes[0].phys;
    let device = Device::at(phys)?;
    if source != Source::Unbind {
        check_pages(&processes, phys)?;
    }
    let mut log = KernelLog::open().map_err(|e| format!("/dev/kmsg: {e}"))?;

    let mce = match source {
        Source::Mce => MceTrace::start().ok(),
        _ => None,
    };
    let requested_ns = process::monotonic_ns();
    let mut poisoner = None;
    if source == Source::Madvise {
        poisoner = Some(processes[0].request(Command::Poison));
    }
    source::inject(source, phys, &device)?;
    let recovery = match source {
        Source::Unbind => "Recovered".into(),
        _ => log.wait_done(phys, timeout)?,
    };
    let injected_ns = mce
        .and_then(|trace| trace.first_ns())
        .unwrap_or(requested_ns);

    let mut outcomes = Vec::new();
    for process in &mut processes {
        // The process that called madvise() has already answered.
        let poisoned = poisoner.take();
        outcomes.push(Outcome {
            spec: process.spec.clone(),
            pid: process.pid(),
            vaddr: process.vaddr,
            due: due(source, process.spec.late, poisoned.is_some()),
            answer: poisoned.unwrap_or_else(|| finish(process)),
        });
    }
    let range = match source {
        Source::Unbind => (0, device.size),
        _ => (phys.wrapping_sub(device.start), PAGE_SIZE),
    };
    Ok(Verdict {
        source,
        device,
        filesystem,
        range,
        recovery,
        injected_ns,
        outcomes,
    })
}

fn listen(path: &Path) -> Result<Infallible, Box<dyn Error>> {
    let of_path = |e| format!("{}: {e}", path.display());
    let mut listener = Listener::new(path).map_err(of_path)?;

    cli::print("listening")?;
    loop {
        for errors in listener.next().map_err(of_path)? {
            cli::print(errors)?;
        }
    }
}

/// Runs a subcommand. Returns false if a check failed.
fn act(action: Action) -> Result<bool, Box<dyn Error>> {
    match action {
        Action::Run {
            source,
            recovery,
            timeout,
            watch,
            processes,
        } => {
            let timeout = Duration::from_secs(timeout);
            let watch = watch.map(|path| (Watch::new(&path), path));
            let verdict = run(source, timeout, processes)?;
            let mut faults = verdict.faults();
            if let Some((watch, path)) = watch {
                if !watch
                    .and_then(|w| w.changed(timeout))
                    .map_err(|e| format!("{}: {e}", path.display()))?
                {
                    faults.push(format!("{}: no notification", path.display()));
                }
            }
            if verdict.recovery != recovery {
                faults.push(format!(
                    "recovery: expected {recovery}; got {}",
                    verdict.recovery
                ));
            }
            cli::print(verdict.table())?;
            for fault in &faults {
                cli::print(fault)?;
            }
            cli::print(verdict.summary())?;
            Ok(faults.is_empty())
        }
        Action::Phys { file, offset } => {
            let spec = format!("{},offset={offset}", file.display());
            cli::print(format_args!("{:#x}", Process::start(spec.parse()?)?.phys))?;
            Ok(true)
        }
        Action::Touch { process } => match Process::start(process) {
            Ok(mut process) => {
                let answer = process.request(Command::Touch);
                if answer != Answer::Report(Report::Quiet) {
                    cli::print(describe(answer))?;
                }
                Ok(answer == Answer::Report(Report::Quiet))
            }
            Err(why) => {
                cli::print(why)?;
                Ok(false)
            }
        },
        Action::Errors { path } => match listen(&path)? {},
        Action::Process { spec } => {
            process::run(&spec)?;
            Ok(true)
        }
    }
}

fn main() -> ExitCode {
    cli::run(2, 2, |cli: Cli| {
        act(cli.action).map(|is_good| u8::from(!is_good))
    })
}
