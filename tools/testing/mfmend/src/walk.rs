// SPDX-License-Identifier: GPL-2.0

//! Reads all files of a filesystem, and changes some of them.

use std::ffi::{CString, OsStr};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::ptr;

use nix::errno::Errno;
use nix::sys::statvfs::statvfs;
use nix::unistd::{lseek, Whence};

/// The maximum number of data ranges that are read in a file.
const MAX_RANGES: usize = 16;

/// The ID of the overflow user and group. A file has this ID if the owner in its inode is not a
/// valid ID. The VFS refuses all changes of such a file.
const NOBODY: u32 = 65534;

/// The path of a failed operation, and the error.
pub type Failure = (PathBuf, io::Error);

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, Failure> {
    result.map_err(|error| (path.into(), error))
}

/// The files that can be changed.
#[derive(Default)]
pub struct Found {
    /// Whether `EIO` is not a failure.
    has_bad_ranges: bool,
    /// Whether the top directory can be changed.
    pub is_changeable: bool,
    /// Regular files that can be changed.
    pub files: Vec<PathBuf>,
    /// Directories below the top directory that can be changed.
    pub directories: Vec<PathBuf>,
}

impl Found {
    /// Whether an access to contents can fail in this way.
    fn is_expected(&self, (_, error): &Failure) -> bool {
        self.has_bad_ranges && error.raw_os_error() == Some(libc::EIO)
    }
}

/// Reads all files below a directory. If `has_bad_ranges` is set, contents can be in bad blocks,
/// and `EIO` is not a failure.
pub fn read_all(path: &Path, has_bad_ranges: bool) -> Result<Found, Failure> {
    let mut found = Found {
        has_bad_ranges,
        ..Found::default()
    };

    at(path, statvfs(path).map_err(Into::into))?;
    found.is_changeable = at(path, is_changeable(path))?;
    read_directory(path, found.is_changeable, &mut found)?;
    Ok(found)
}

/// Whether a file has valid owners, and is neither immutable nor append-only.
fn is_changeable(path: &Path) -> io::Result<bool> {
    let of = fs::symlink_metadata(path)?;
    let fixed = (libc::STATX_ATTR_IMMUTABLE | libc::STATX_ATTR_APPEND) as u64;

    Ok(![of.uid(), of.gid()].contains(&NOBODY) && attributes(path)? & fixed == 0)
}

/// The attributes of a file from `statx()`.
fn attributes(path: &Path) -> io::Result<u64> {
    let mut of = MaybeUninit::<libc::statx>::zeroed();
    let path = c_path(path)?;

    // SAFETY: `path` is a C string, and `statx()` writes one `struct statx` to `of`.
    let result = unsafe {
        libc::statx(
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::AT_SYMLINK_NOFOLLOW,
            0,
            of.as_mut_ptr(),
        )
    };

    match result {
        // SAFETY: `of` was zeroed, and zeroes are a valid `struct statx`, as is what `statx()` has
        // written.
        0 => Ok(unsafe { of.assume_init() }.stx_attributes),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Reads a directory and all files below. A file counts as changeable only if its directory is
/// changeable, because otherwise the file could not be renamed or removed.
fn read_directory(path: &Path, is_changeable: bool, found: &mut Found) -> Result<(), Failure> {
    read_attributes(path)?;
    for entry in at(path, fs::read_dir(path))? {
        let entry = at(path, entry)?;
        let path = entry.path();
        let metadata = at(&path, fs::symlink_metadata(&path))?;
        let kind = at(&path, entry.file_type())?;

        if kind != metadata.file_type() {
            return at(
                &path,
                Err(io::Error::other(
                    "readdir() and lstat() return different types",
                )),
            );
        }
        let is_changeable = is_changeable && at(&path, self::is_changeable(&path))?;

        read_attributes(&path)?;
        if kind.is_dir() {
            if is_changeable {
                found.directories.push(path.clone());
            }
            read_directory(&path, is_changeable, found)?;
        } else if kind.is_symlink() {
            at(&path, fs::read_link(&path))?;
        } else if kind.is_file() {
            match at(&path, read_file(&path, metadata.size())) {
                Err(failure) if found.is_expected(&failure) => {}
                result => result?,
            }
            if is_changeable {
                found.files.push(path);
            }
        }
    }
    Ok(())
}

fn read_file(path: &Path, size: u64) -> io::Result<()> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOATIME)
        .open(path)?;
    let mut page = [0; 4096];
    let mut position = 0;

    file.read_at(&mut page, size.saturating_sub(100))?;
    for _ in 0..MAX_RANGES {
        position = match lseek(file.as_raw_fd(), position, Whence::SeekData) {
            Ok(position) => position,
            Err(Errno::ENXIO) => break,
            Err(error) => return Err(error.into()),
        };
        file.read_at(&mut page, position as u64)?;
        touch(&file, position & !4095)?;
        position = lseek(file.as_raw_fd(), position, Whence::SeekHole)?;
    }
    Ok(())
}

/// Reads a byte through a mapping.
fn touch(file: &File, offset: i64) -> io::Result<()> {
    // SAFETY: `mmap()` chooses the address of a new mapping.
    let page = unsafe {
        libc::mmap(
            ptr::null_mut(),
            4096,
            libc::PROT_READ,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            offset,
        )
    };

    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: The page was just mapped, and no reference to it exists when it is unmapped.
    unsafe {
        page.cast::<u8>().read_volatile();
        libc::munmap(page, 4096);
    }
    Ok(())
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

fn read_attributes(path: &Path) -> Result<(), Failure> {
    for name in at(path, list_attributes(path))? {
        match read_attribute(path, &name) {
            // A listed attribute can have a namespace that is not valid for this inode.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EPERM)) => {}
            // The VFS returns ENODATA for "user." on inodes that cannot have user attributes.
            Err(error)
                if error.raw_os_error() == Some(libc::ENODATA)
                    && name.as_bytes().starts_with(b"user.")
                    && !at(path, can_have_user_attributes(path))? => {}
            result => at(path, result)?,
        }
    }
    Ok(())
}

fn can_have_user_attributes(path: &Path) -> io::Result<bool> {
    fs::symlink_metadata(path).map(|of| of.is_file() || of.is_dir())
}

fn list_attributes(path: &Path) -> io::Result<Vec<CString>> {
    let mut names = vec![0; 65536];
    let path = c_path(path)?;

    // SAFETY: `path` is a C string, and `llistxattr()` writes at most `names.len()` bytes to
    // `names`.
    let len = unsafe { libc::llistxattr(path.as_ptr(), names.as_mut_ptr().cast(), names.len()) };

    names.truncate(usize::try_from(len).map_err(|_| io::Error::last_os_error())?);
    names
        .split_inclusive(|byte| *byte == 0)
        .map(|name| CString::from_vec_with_nul(name.into()).map_err(io::Error::other))
        .collect()
}

fn read_attribute(path: &Path, name: &CString) -> io::Result<()> {
    let mut value = [0_u8; 4096];
    let path = c_path(path)?;

    // SAFETY: `path` and `name` are C strings, and `lgetxattr()` writes at most `value.len()` bytes
    // to `value`.
    let len = unsafe {
        libc::lgetxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };

    match len {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Creates and removes files, and changes some existing ones. `ENOSPC` is not a failure.
pub fn change(root: &Path, found: &Found) -> Result<(), Failure> {
    if !found.is_changeable {
        return Ok(());
    }

    let changes = [
        at(root, create_and_remove(root)),
        found
            .files
            .iter()
            .take(2)
            .try_for_each(|path| at(path, overwrite(path))),
        found
            .files
            .last()
            .map_or(Ok(()), |path| at(path, fs::remove_file(path))),
        found.directories.last().map_or(Ok(()), |path| {
            at(path, fs::rename(path, root.join("mfmend moved")))
        }),
    ];

    changes
        .into_iter()
        .filter(|result| {
            !matches!(result, Err(failure)
                if failure.1.kind() == ErrorKind::StorageFull || found.is_expected(failure))
        })
        .collect()
}

fn create_and_remove(root: &Path) -> io::Result<()> {
    let folder = root.join("mfmend folder");
    let path = root.join("mfmend file");

    fs::create_dir(&folder)?;
    let result = use_new_file(&path, &folder);
    for path in [path, folder.join("second"), folder.join("link")] {
        match fs::remove_file(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            result => result?,
        }
    }
    fs::remove_dir(folder)?;
    result
}

fn use_new_file(path: &Path, folder: &Path) -> io::Result<()> {
    let bytes = [b'x'; 5000];
    let mut read = [0; 5000];

    File::create_new(path)?.write_all(&bytes)?;
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    file.sync_all()?;
    file.read_exact_at(&mut read, 0)?;
    if read != bytes {
        return Err(io::Error::other("the contents are not what was written"));
    }
    fs::hard_link(path, folder.join("first"))?;
    fs::rename(folder.join("first"), folder.join("second"))?;
    std::os::unix::fs::symlink(OsStr::new("somewhere"), folder.join("link"))?;
    file.set_len(10)
}

fn overwrite(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;

    file.write_all_at(b"mfmend", 4090)?;
    file.set_len(4095)
}
