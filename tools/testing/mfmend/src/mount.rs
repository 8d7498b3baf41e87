// SPDX-License-Identifier: GPL-2.0

//! Mounts and unmounts mendfs.

use std::path::Path;

use nix::errno::Errno;
use nix::mount::{mount, umount2, MntFlags, MsFlags};

/// A mounted filesystem. Dropping it unmounts it.
pub struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    /// Mounts `device`.
    pub fn new(device: &Path, at: &'a Path, is_read_only: bool) -> Result<Self, Errno> {
        let flags = match is_read_only {
            true => MsFlags::MS_RDONLY,
            false => MsFlags::empty(),
        };

        mount(Some(device), at, Some("mendfs"), flags, None::<&str>)?;
        Ok(Self(at))
    }

    /// Unmounts the filesystem, and returns the error if that fails.
    pub fn end(self) -> Result<(), Errno> {
        let at = self.0;

        std::mem::forget(self);
        umount2(at, MntFlags::empty())
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = umount2(self.0, MntFlags::MNT_DETACH);
    }
}
