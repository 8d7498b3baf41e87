// SPDX-License-Identifier: GPL-2.0

//! `daxmf events`: lists the events of memory failures in the kernel's event log.

mod record;

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use clap::Args;
use cli::Unwritten;

use crate::block;

pub use record::Record;

/// The event log. Each read returns one record.
pub const LOG: &str = "/dev/daxmf";

/// Size of the buffer for a record, in bytes. By Documentation/events.rst, 512 are enough.
const RECORD_SIZE: usize = 4096;

/// Which events to show, and how.
#[derive(Args)]
pub struct Options {
    /// Only events of this disk or mapped device: a path, or a name in the kernel, such as pmem0.
    device: Option<String>,
    /// Wait for further events and list them, until interrupted.
    #[arg(long, short)]
    follow: bool,
    /// Print JSON, one object a line.
    #[arg(long)]
    json: bool,
}

/// Lists the events. Returns a line for each error.
pub fn act(options: &Options) -> Result<Vec<String>, Unwritten> {
    let mut log = match Log::open(options.follow) {
        Ok(log) => log,
        Err(error) => return Ok(vec![error]),
    };
    let device = match options.device.as_deref().map(disk_of).transpose() {
        Ok(device) => device,
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

/// The open event log.
pub struct Log(File);

impl Log {
    /// Opens the log at its oldest event. If `is_blocking` is true, [`Log::next`] waits for an
    /// event.
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

    /// Reads the next event. [`None`] if there is none yet and the log is not blocking.
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
        ErrorKind::NotFound => "no event log: load the module daxmf (modprobe daxmf)".into(),
        ErrorKind::PermissionDenied => "needs root".into(),
        _ => error.to_string(),
    }
}

/// The kernel's name of the disk whose events the user wants. A disk that is gone can have events,
/// but its name can also be wrong, so this warns.
fn disk_of(device: &str) -> Result<String, String> {
    let class = Path::new("/sys/class/block");
    let path = match device.contains('/') {
        true => Path::new(device).into(),
        false => class.join(device),
    };

    if path.exists() {
        return block::whole_disk(device);
    }
    cli::warn(format_args!(
        "daxmf: {device}: there is no such device now: its old events are listed"
    ));
    Ok(path
        .file_name()
        .map_or_else(|| device.into(), |name| name.to_string_lossy().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_gone_has_its_name() {
        assert_eq!(disk_of("pmem987654"), Ok("pmem987654".into()));
        assert_eq!(disk_of("/dev/pmem987654"), Ok("pmem987654".into()));
    }

    #[test]
    fn a_file_is_not_a_device() {
        assert_eq!(
            disk_of("/proc/self/stat"),
            Err("/proc/self/stat: not a block device".into())
        );
    }
}
