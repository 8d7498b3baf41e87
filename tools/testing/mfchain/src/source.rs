// SPDX-License-Identifier: GPL-2.0

//! The sources of a memory failure, and the wait until the kernel has handled it.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

use crate::device::Device;
use crate::spec::PAGE_SIZE;

/// The source of a memory failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// A machine check, injected into the virtual machine from its host by `host-mce`.
    Mce,
    /// `madvise(MADV_HWPOISON)`, called by the first process.
    Madvise,
    /// The `corrupt-pfn` file of the module hwpoison-inject.
    CorruptPfn,
    /// Removal of the device: the namespace is unbound from its driver.
    Unbind,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mce => "machine check (patrol scrub, action optional)",
            Self::Madvise => "madvise(MADV_HWPOISON) by the first process",
            Self::CorruptPfn => "hwpoison-inject, corrupt-pfn",
            Self::Unbind => "removal of the device",
        })
    }
}

/// Injects a failure at `phys` from outside the processes.
///
/// Does nothing for [`Source::Madvise`], because a process calls `madvise()`.
pub fn inject(source: Source, phys: u64, device: &Device) -> Result<(), String> {
    match source {
        Source::Madvise => Ok(()),
        Source::Mce => {
            let status = Command::new("host-mce").arg(format!("{phys:#x}")).status();
            match status {
                Ok(s) if s.success() => Ok(()),
                Ok(s) => Err(format!("host-mce: {s}")),
                Err(e) => Err(format!("host-mce: {e}")),
            }
        }
        Source::CorruptPfn => {
            let path = "/sys/kernel/debug/hwpoison/corrupt-pfn";
            let pfn = format!("{:#x}", phys / PAGE_SIZE);
            // Only a missing file is an error here. Other errors are results of memory_failure(),
            // which `wait_done()` reads from the kernel log.
            match fs::write(path, pfn) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    Err(format!("{path}: {e} (modprobe hwpoison-inject)"))
                }
                _ => Ok(()),
            }
        }
        Source::Unbind => device.unbind(),
    }
}

/// The kernel log from the moment of opening.
pub struct KernelLog(File);

impl KernelLog {
    /// Opens the log at its end.
    pub fn open() -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/kmsg")?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self(file))
    }

    /// Waits until the kernel has handled the failure at `phys`. Returns the result that it logged.
    pub fn wait_done(&mut self, phys: u64, timeout: Duration) -> Result<String, String> {
        let wanted = format!(
            "Memory failure: {:#x}: recovery action for ",
            phys / PAGE_SIZE
        );
        let deadline = Instant::now() + timeout;
        loop {
            while let Some(record) = self.record().map_err(|e| format!("/dev/kmsg: {e}"))? {
                if let Some((_, action)) = record.split_once(&wanted) {
                    let action = action.lines().next().unwrap_or_default();
                    return Ok(action.rsplit(' ').next().unwrap_or_default().into());
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!(
                    "the kernel logged no result for {phys:#x} within {} s",
                    timeout.as_secs()
                ));
            }
            let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            poll(&mut fds, left).map_err(|e| format!("/dev/kmsg: {e}"))?;
        }
    }

    /// Reads one record. `None` if there is none yet.
    fn record(&mut self) -> io::Result<Option<String>> {
        let mut buffer = [0; 8192];
        loop {
            match self.0.read(&mut buffer) {
                Ok(n) => return Ok(Some(String::from_utf8_lossy(&buffer[..n]).into_owned())),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                // EPIPE: the next records were overwritten. The next read returns the oldest left.
                Err(e) if e.raw_os_error() == Some(libc::EPIPE) => {}
                Err(e) => return Err(e),
            }
        }
    }
}
