// SPDX-License-Identifier: GPL-2.0

//! Waits for a change of a sysfs attribute.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

/// A sysfs attribute that is watched for changes.
pub struct Watch(File);

impl Watch {
    /// Reads the attribute. [`Self::changed`] reports changes after this.
    pub fn new(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        file.read_to_end(&mut Vec::new())?;
        Ok(Self(file))
    }

    /// Waits until the kernel signals a change. Returns false after the timeout.
    pub fn changed(&self, timeout: Duration) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLPRI)];
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        Ok(poll(&mut fds, timeout)? > 0)
    }
}
