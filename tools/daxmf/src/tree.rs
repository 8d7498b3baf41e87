// SPDX-License-Identifier: GPL-2.0

//! All names of a filesystem, and the files that have none any more but are open.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::dir::{Dir, Type};
use nix::fcntl::OFlag;

use crate::files::Filesystem;
use crate::sys::lookup::open_below;
use crate::text::readable;

/// A name.
pub struct Entry<'a> {
    /// From the root of the mount on.
    pub path: &'a Path,
    /// Of the file that has it.
    pub inode: u64,
    /// Of the file, if the filesystem keeps it with the name.
    pub kind: Option<Type>,
}

/// Calls `act` with each name of a filesystem, until it returns false. Returns the directories that
/// could not be read, a line each.
///
/// A directory that is moved meanwhile may be left out.
pub fn walk(filesystem: &Filesystem, mut act: impl FnMut(&Entry<'_>) -> bool) -> Vec<String> {
    let mut errors = Vec::new();
    let mut rest = VecDeque::from([PathBuf::from(".")]);

    while let Some(directory) = rest.pop_front() {
        let result = read(&filesystem.root, &directory, &mut |entry| {
            if matches!(entry.kind, Some(Type::Directory) | None) {
                rest.push_back(entry.path.into());
            }
            act(entry)
        });

        match result {
            Ok(true) => {}
            Ok(false) => break,
            // It is no directory, is gone, or another filesystem is mounted there.
            Err(error) if is_no_directory(&error) => {}
            Err(error) => {
                let path = filesystem.mount.point.join(&directory);

                errors.push(format!("{}: {error}", readable(&path)));
            }
        }
    }
    errors
}

fn is_no_directory(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOTDIR | libc::ENOENT | libc::EXDEV | libc::ELOOP)
    )
}

/// Returns whether it was read to its end.
fn read(
    root: &File,
    directory: &Path,
    act: &mut impl FnMut(&Entry<'_>) -> bool,
) -> io::Result<bool> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOATIME | OFlag::O_NONBLOCK;
    let file = open_below(root, directory, flags)?;
    let mut entries = Dir::from_fd(file.into_raw_fd())?;

    for entry in entries.iter() {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());

        if name != "." && name != ".." {
            let path = directory.strip_prefix(".").unwrap_or(directory).join(name);

            let goes_on = act(&Entry {
                path: &path,
                inode: entry.ino(),
                kind: entry.file_type(),
            });

            if !goes_on {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Opens the regular file or the directory that has a name; [`None`] if it is something else, or
/// has no blocks.
pub fn open(filesystem: &Filesystem, entry: &Entry<'_>) -> io::Result<Option<File>> {
    if !matches!(entry.kind, Some(Type::File | Type::Directory) | None) {
        return Ok(None);
    }
    // Nothing is opened but what was looked at: to open a device can be to use it.
    let name = open_below(
        &filesystem.root,
        entry.path,
        OFlag::O_PATH | OFlag::O_NOFOLLOW,
    )?;
    let meta = name.metadata()?;

    if meta.blocks() == 0 || !(meta.is_file() || meta.is_dir()) {
        return Ok(None);
    }
    File::options()
        .read(true)
        .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOATIME).bits())
        .open(format!("/proc/self/fd/{}", name.as_raw_fd()))
        .map(Some)
}

/// Calls `act` with each file of a filesystem that has no name any more, but that a process has
/// open or mapped. A file may come several times.
pub fn nameless(filesystem: &Filesystem, mut act: impl FnMut(&File)) {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();

    for process in processes {
        for folder in ["fd", "map_files"] {
            let links = fs::read_dir(process.path().join(folder));

            for link in links.into_iter().flatten().flatten() {
                if let Some(file) = open_nameless(filesystem, &link.path()) {
                    act(&file);
                }
            }
        }
    }
}

fn open_nameless(filesystem: &Filesystem, link: &Path) -> Option<File> {
    let target = fs::read_link(link).ok()?;

    if !target.as_os_str().as_bytes().ends_with(b" (deleted)") {
        return None;
    }
    let meta = fs::metadata(link).ok()?;

    (meta.is_file() && filesystem.has(&meta)).then(|| File::open(link).ok())?
}
