// SPDX-License-Identifier: GPL-2.0

//! Walks over all names of a filesystem, and over the open files without a name.

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
    /// Path from the root of the mount.
    pub path: &'a Path,
    /// Inode number of the file.
    pub inode: u64,
    /// Type of the file. [`None`] if the filesystem does not store it with the name.
    pub kind: Option<Type>,
}

/// Calls `act` with each name of a filesystem, until `act` returns false. Returns a line for each
/// directory that could not be read.
///
/// The walk can miss a directory that is moved at the same time.
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
            // The entry is not a directory or is gone, or another filesystem is mounted there.
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

/// Calls `act` with each name in a directory. Returns false if `act` returned false.
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

/// Opens the regular file or directory of a name. [`None`] if it is something else, or has no
/// blocks.
pub fn open(filesystem: &Filesystem, entry: &Entry<'_>) -> io::Result<Option<File>> {
    if !matches!(entry.kind, Some(Type::File | Type::Directory) | None) {
        return Ok(None);
    }
    // Check the type with O_PATH first, because opening a device file can have effects. Then reopen
    // the same inode.
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

/// Calls `act` with each file of a filesystem that has no name, but that a process has open or
/// mapped. It can pass the same file several times.
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
