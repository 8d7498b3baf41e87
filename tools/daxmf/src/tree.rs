// SPDX-License-Identifier: GPL-2.0

//! Walks over all names of a filesystem, and over the open files without a name.

mod skipped;

use std::collections::{BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::dir::{Dir, Type};
use nix::fcntl::OFlag;

use crate::files::Filesystem;
use crate::sys::lookup::open_below;

use skipped::Skipped;

/// A name.
pub struct Entry<'a> {
    /// Path from the root of the mount.
    pub path: &'a Path,
    /// Inode number of the file.
    pub inode: u64,
    /// Type of the file. [`None`] if the filesystem does not store it with the name.
    pub kind: Option<Type>,
}

/// A directory to read. It has only its own name, because a user can make a million directories
/// below a long path.
struct Directory {
    /// [`None`] for the root of the mount.
    parent: Option<Rc<Directory>>,
    name: OsString,
}

impl Directory {
    fn root() -> Rc<Self> {
        Rc::new(Self {
            parent: None,
            name: OsString::new(),
        })
    }

    fn below(parent: &Rc<Self>, path: &Path) -> Rc<Self> {
        Rc::new(Self {
            parent: Some(Rc::clone(parent)),
            name: path.file_name().unwrap_or_default().into(),
        })
    }

    /// Path from the root of the mount. Empty for the root.
    fn path(&self) -> PathBuf {
        let mut names = vec![&self.name];
        let mut parent = &self.parent;

        while let Some(directory) = parent {
            names.push(&directory.name);
            parent = &directory.parent;
        }
        names.into_iter().rev().collect()
    }
}

/// Calls `act` with each name of a filesystem, until `act` returns false. Returns a line for each
/// directory that could not be read, and for each name for which `act` failed.
///
/// The walk can miss a directory that is moved at the same time.
pub fn walk(
    filesystem: &Filesystem,
    mut act: impl FnMut(&Entry<'_>) -> io::Result<bool>,
) -> Vec<String> {
    let mut skipped = Skipped::new(&filesystem.mount.point);
    let mut rest = VecDeque::from([Directory::root()]);

    while let Some(directory) = rest.pop_front() {
        let path = directory.path();
        let result = read(&filesystem.root, &path, &mut |entry| {
            if matches!(entry.kind, Some(Type::Directory) | None) {
                rest.push_back(Directory::below(&directory, entry.path));
            }
            act(entry).unwrap_or_else(|error| {
                skipped.add(entry.path, &error);
                true
            })
        });

        match result {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => skipped.add(&path, &error),
        }
    }
    skipped.into_lines()
}

/// Calls `act` with each name in a directory. Returns false if `act` returned false.
fn read(
    root: &File,
    directory: &Path,
    act: &mut impl FnMut(&Entry<'_>) -> bool,
) -> io::Result<bool> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOATIME | OFlag::O_NONBLOCK;
    let path = match directory.as_os_str().is_empty() {
        true => Path::new("."),
        false => directory,
    };
    let file = open_below(root, path, flags)?;
    let mut entries = Dir::from_fd(file.into_raw_fd())?;

    for entry in entries.iter() {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());

        if name != "." && name != ".." {
            let goes_on = act(&Entry {
                path: &directory.join(name),
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

/// Calls `act` with each name of a regular file or directory that has blocks, and with the open
/// file, until `act` returns false. Returns a line for each error.
pub fn search(
    filesystem: &Filesystem,
    mut act: impl FnMut(&Entry<'_>, &File) -> io::Result<bool>,
) -> Vec<String> {
    walk(filesystem, |entry| match open(filesystem, entry)? {
        Some(file) => act(entry, &file),
        None => Ok(true),
    })
}

/// Opens the regular file or directory of a name. [`None`] if it is something else, or has no
/// blocks.
fn open(filesystem: &Filesystem, entry: &Entry<'_>) -> io::Result<Option<File>> {
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
    let link = format!("/proc/self/fd/{}", name.as_raw_fd());

    open_link(Path::new(&link)).map(Some)
}

/// Opens the file of a link in `/proc`. Fails with `EAGAIN` if a process has a lease on the file:
/// to wait for the process could take 45 seconds for each file.
fn open_link(link: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOATIME).bits())
        .open(link)
}

/// Calls `act` with each file of a filesystem that has no name, but that a process has open or
/// mapped. It can pass the same file several times. Returns a line for each file that could not be
/// opened, or for which `act` failed.
pub fn nameless(
    filesystem: &Filesystem,
    mut act: impl FnMut(&File) -> io::Result<()>,
) -> Vec<String> {
    let mut skipped = Skipped::new(&filesystem.mount.point);
    // A file can have thousands of links, and is reported once.
    let mut failed = BTreeSet::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();

    for process in processes {
        for folder in ["fd", "map_files"] {
            let links = fs::read_dir(process.path().join(folder));

            for link in links.into_iter().flatten().flatten() {
                let link = link.path();
                let Some((name, inode)) = find_nameless(filesystem, &link) else {
                    continue;
                };

                if let Err(error) = open_link(&link).and_then(|file| act(&file)) {
                    // If the process has ended meanwhile, the error is EACCES.
                    if find_nameless(filesystem, &link).is_some() && failed.insert(inode) {
                        skipped.add(&name, &error);
                    }
                }
            }
        }
    }
    skipped.into_lines()
}

/// The former name and the inode number of the file of a link, if the file is a regular file of the
/// filesystem without a name.
fn find_nameless(filesystem: &Filesystem, link: &Path) -> Option<(PathBuf, u64)> {
    let name = fs::read_link(link).ok()?;

    if !name.as_os_str().as_bytes().ends_with(b" (deleted)") {
        return None;
    }
    let meta = fs::metadata(link).ok()?;

    (meta.is_file() && filesystem.has(&meta)).then(|| (name, meta.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_the_path_of_its_names() {
        let root = Directory::root();
        let a = Directory::below(&root, Path::new("a"));
        let b = Directory::below(&a, Path::new("a/b"));

        assert_eq!(root.path(), Path::new(""));
        assert_eq!(a.path(), Path::new("a"));
        assert_eq!(b.path(), Path::new("a/b"));
        drop(a);
        assert_eq!(b.path(), Path::new("a/b"));
    }
}
