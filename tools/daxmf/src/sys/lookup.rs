// SPDX-License-Identifier: GPL-2.0

//! Opens files below a directory.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::Path;

use nix::fcntl::{openat2, OFlag, OpenHow, ResolveFlag};

/// Opens a path below a directory. Refuses symbolic links and other filesystems on the way.
pub fn open_below(root: &File, path: &Path, flags: OFlag) -> io::Result<File> {
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(
        ResolveFlag::RESOLVE_BENEATH
            | ResolveFlag::RESOLVE_NO_SYMLINKS
            | ResolveFlag::RESOLVE_NO_MAGICLINKS
            | ResolveFlag::RESOLVE_NO_XDEV,
    );
    let fd = openat2(root.as_raw_fd(), path, how)?;

    // SAFETY: openat2() has just opened the descriptor, and nothing else owns it.
    Ok(unsafe { File::from_raw_fd(fd) })
}
