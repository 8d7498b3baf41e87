// SPDX-License-Identifier: GPL-2.0

//! Waiting for a sysfs attribute to change.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

/// A sysfs attribute that was read and is now watched.
pub struct Watch(File);

impl Watch {
    /// Reads the attribute: changes from now on are noticed.
    pub fn new(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        file.read_to_end(&mut Vec::new())?;
        Ok(Self(file))
    }

    /// Waits until the kernel says that the attribute has changed; false if it does not.
    pub fn changed(&self, timeout: Duration) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLPRI)];
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        Ok(poll(&mut fds, timeout)? > 0)
    }
}
