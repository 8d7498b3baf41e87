// SPDX-License-Identifier: GPL-2.0

//! `daxmf monitor`: reports events as they happen to the journal, to a command and to Prometheus.
//!
//! The monitor runs as a service. It stores the number of the last event in a file, so that after a
//! restart it reports no event again.

mod command;
mod journal;
mod metrics;
mod replace;
mod state;
mod xfs;

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use clap::Args;
use cli::Unwritten;
use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

use crate::events::{Log, Record};

use journal::Journal;
use metrics::Metrics;
use state::State;

/// Where to report events.
#[derive(Args)]
pub struct Options {
    /// Run a shell command for each event, with the fields of the event in its environment:
    /// DAXMF_EVENT, DAXMF_DISK and so on.
    #[arg(long, value_name = "COMMAND")]
    exec: Option<String>,
    /// Write metrics for Prometheus to a file, for the textfile collector of node_exporter.
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,
    /// Store in a file which events were reported, for the next start.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Write lines to standard output, even if there is a journal.
    #[arg(long)]
    no_journal: bool,
    /// Report the events that the kernel has, and exit.
    #[arg(long)]
    once: bool,
}

/// Reports events until it is killed. Returns a line for each error.
pub fn act(options: &Options) -> Result<Vec<String>, Unwritten> {
    let mut log = match Log::open(false) {
        Ok(log) => log,
        Err(error) => return Ok(vec![error]),
    };
    let journal = match options.no_journal {
        true => None,
        false => Journal::connect(),
    };
    let mut metrics = options.metrics.as_deref().map(Metrics::new);
    // The log is open, as this needs.
    let (mut state, mut errors) = State::read(options.state.as_deref());

    loop {
        match log.next() {
            Ok(Some(record)) => {
                let unreported = state.unreported(&record);

                if let Some(metrics) = &mut metrics {
                    // Events that were reported before they were overwritten are not missed.
                    let counted = match record.is_missed() {
                        true => unreported.as_ref(),
                        false => Some(&record),
                    };

                    counted.into_iter().for_each(|record| metrics.count(record));
                }
                if let Some(record) = unreported {
                    report(&record, journal.as_ref(), options, &mut errors)?;
                    state.set_reported(&record);
                }
                continue;
            }
            Ok(None) => {}
            Err(error) => return Ok(vec![error]),
        }

        // The log has no further events.
        let written = state
            .write()
            .and_then(|()| metrics.as_ref().map_or(Ok(()), Metrics::write));

        errors.extend(written.err());
        if options.once {
            return Ok(errors);
        }
        for error in errors.drain(..) {
            cli::warn(format_args!("daxmf: {error}"));
        }
        if let Err(error) = wait(&log) {
            return Ok(vec![format!("{}: {error}", crate::events::LOG)]);
        }
    }
}

/// Reports an event: to the journal, or to standard output if there is no journal; to XFS; and to
/// the command.
fn report(
    record: &Record,
    journal: Option<&Journal>,
    options: &Options,
    errors: &mut Vec<String>,
) -> Result<(), Unwritten> {
    let sent = journal.map(|journal| journal.send(record));

    match sent {
        Some(Ok(())) => {}
        Some(Err(error)) => {
            errors.push(error);
            cli::print(record)?;
        }
        None => cli::print(record)?,
    }
    errors.extend(xfs::verify(record));
    if let Some(command) = &options.exec {
        errors.extend(command::run(command, record).err());
    }
    Ok(())
}

/// Waits for the next event.
fn wait(log: &Log) -> io::Result<()> {
    let mut log = [PollFd::new(log.as_fd(), PollFlags::POLLIN)];

    match poll(&mut log, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
