// SPDX-License-Identifier: GPL-2.0

//! `daxmf events`: what happened to memory failures, as the kernel's log of them has it.

mod record;

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use clap::Args;
use cli::Unwritten;

pub use record::Record;

/// The log, a record for each read.
pub const LOG: &str = "/dev/daxmf";

/// Longer than any record.
const RECORD_SIZE: usize = 4096;

/// Which events to show, and how.
#[derive(Args)]
pub struct Options {
    /// Only those of this disk or mapped device: a path, or a name of the kernel, such as pmem0.
    device: Option<String>,
    /// Go on with events as they happen, until interrupted.
    #[arg(long, short)]
    follow: bool,
    /// As JSON, an object a line.
    #[arg(long)]
    json: bool,
}

/// Shows the events. Returns what failed, a line each.
pub fn act(options: &Options) -> Result<Vec<String>, Unwritten> {
    let device = options.device.as_deref().map(kernel_name);
    let mut log = match Log::open(options.follow) {
        Ok(log) => log,
        Err(error) => return Ok(vec![error]),
    };

    if !options.json {
        cli::print(record::HEAD)?;
    }
    loop {
        match log.next() {
            Ok(Some(record)) if device.as_ref().is_none_or(|device| record.is_of(device)) => {
                match options.json {
                    true => cli::print(record.to_json())?,
                    false => cli::print(&record)?,
                }
            }
            Ok(Some(_)) => {}
            Ok(None) => return Ok(vec![]),
            Err(error) => return Ok(vec![error]),
        }
    }
}

/// The log of the kernel.
pub struct Log(File);

impl Log {
    /// Opens it, at the oldest event that it has.
    pub fn open(is_blocking: bool) -> Result<Self, String> {
        let flags = match is_blocking {
            true => 0,
            false => libc::O_NONBLOCK,
        };

        OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(LOG)
            .map(Self)
            .map_err(|error| format!("{LOG}: {}", explain(&error)))
    }

    /// The next event, [`None`] if there is none yet.
    pub fn next(&mut self) -> Result<Option<Record>, String> {
        let mut bytes = [0; RECORD_SIZE];

        loop {
            match self.0.read(&mut bytes) {
                Ok(len) => {
                    let text = String::from_utf8_lossy(bytes.get(..len).unwrap_or_default());

                    return Ok(Some(Record::parse(&text)));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(format!("{LOG}: {error}")),
            }
        }
    }
}

impl AsFd for Log {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "there is no log: load the module daxmf (modprobe daxmf)".into(),
        ErrorKind::PermissionDenied => "needs root".into(),
        _ => error.to_string(),
    }
}

/// What the kernel calls a device: a path may be a link, as those in `/dev/mapper` are.
fn kernel_name(device: &str) -> String {
    let path = Path::new("/dev").join(device);
    let path = path.canonicalize().unwrap_or(path);

    path.file_name()
        .map_or_else(|| device.into(), |name| name.to_string_lossy().into())
}
