// SPDX-License-Identifier: GPL-2.0

//! `daxmf monitor`: reports events as they happen to the journal, to a command and to Prometheus.
//!
//! The monitor runs as a service. It stores in a file which events it has reported, so that after a
//! restart it reports no event again, unless it was killed while it reported that event.

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

use crate::events::{Log, Record, LOG};

use journal::Journal;
use metrics::Metrics;
use state::State;

/// How long to wait for an event before the metrics are written again, in milliseconds. The bad
/// bytes of the disks can change without an event, when disks come and go.
const PERIOD: u16 = 60_000;

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
    match Log::open(false) {
        Ok(log) => Monitor::new(options).run(log),
        Err(error) => Ok(vec![error]),
    }
}

struct Monitor<'a> {
    options: &'a Options,
    /// [`None`] if events are written to standard output.
    journal: Option<Journal>,
    metrics: Option<Metrics>,
    state: State,
    /// A line for each error that was not printed yet.
    errors: Vec<String>,
}

impl<'a> Monitor<'a> {
    /// The event log must be open: see [`State::read`].
    fn new(options: &'a Options) -> Self {
        let (state, errors) = State::read(options.state.as_deref());
        let journal = match options.no_journal {
            true => None,
            false => Journal::connect(),
        };

        Self {
            options,
            journal,
            metrics: options.metrics.as_deref().map(Metrics::new),
            state,
            errors,
        }
    }

    fn run(mut self, mut log: Log) -> Result<Vec<String>, Unwritten> {
        loop {
            let waited = match log.next() {
                Ok(Some(record)) => {
                    self.process(&record)?;
                    Ok(())
                }
                Ok(None) => {
                    self.write_metrics();
                    if self.options.once {
                        return Ok(self.errors);
                    }
                    self.print_errors();
                    self.wait(&log).map_err(|error| format!("{LOG}: {error}"))
                }
                Err(error) => Err(error),
            };

            if let Err(error) = waited {
                self.errors.push(error);
                return Ok(self.errors);
            }
        }
    }

    /// Counts a record. Reports it, if it was not reported before.
    fn process(&mut self, record: &Record) -> Result<(), Unwritten> {
        let unreported = self.state.unreported(record);

        if let Some(metrics) = &mut self.metrics {
            // Events that were reported before they were overwritten are not missed.
            let counted = match record.is_missed() {
                true => unreported.as_ref(),
                false => Some(record),
            };

            counted.into_iter().for_each(|record| metrics.count(record));
        }
        if let Some(record) = unreported {
            self.report(&record)?;
            // A monitor that is killed before this reports the event again, rather than never.
            self.state.set_reported(&record);
            self.errors.extend(self.state.write().err());
            if self.metrics.as_ref().is_some_and(Metrics::is_due) {
                self.write_metrics();
            }
            self.print_errors();
        }
        Ok(())
    }

    /// Reports an event: to the journal, or to standard output if there is no journal; to XFS; and
    /// to the command.
    fn report(&mut self, record: &Record) -> Result<(), Unwritten> {
        let sent = self.journal.as_ref().map(|journal| journal.send(record));

        match sent {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                self.errors.push(error);
                cli::print(record)?;
            }
            None => cli::print(record)?,
        }
        self.errors.extend(xfs::verify(record));
        if let Some(command) = &self.options.exec {
            self.errors.extend(command::run(command, record).err());
        }
        Ok(())
    }

    fn write_metrics(&mut self) {
        if let Some(metrics) = &mut self.metrics {
            self.errors.extend(metrics.write());
        }
    }

    /// Prints the errors, unless they are printed at the end.
    fn print_errors(&mut self) {
        if self.options.once {
            return;
        }
        for error in self.errors.drain(..) {
            cli::warn(format_args!("daxmf: {error}"));
        }
    }

    /// Waits for the next event. If there are metrics, waits at most until they must be written
    /// again.
    fn wait(&self, log: &Log) -> io::Result<()> {
        let mut log = [PollFd::new(log.as_fd(), PollFlags::POLLIN)];
        let timeout = match self.metrics {
            Some(_) => PollTimeout::from(PERIOD),
            None => PollTimeout::NONE,
        };

        match poll(&mut log, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
