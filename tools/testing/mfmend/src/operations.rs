// SPDX-License-Identifier: GPL-2.0

//! Operations on a filesystem. Most of them make one system call.

use std::ffi::{CStr, CString};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{symlink, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::ptr;

const PAGE: u64 = 4096;
const HUGE: u64 = 2 << 20;

/// An operation in a directory.
pub struct Operation {
    /// The name.
    pub name: &'static str,
    /// Creates the files that the operation needs.
    pub prepare: fn(&Path) -> io::Result<()>,
    /// Runs the operation. A caller can repeat it after a failure.
    pub act: fn(&Path) -> io::Result<()>,
    /// Whether a failed operation has changed nothing.
    pub is_atomic: bool,
}

macro_rules! operations {
    ($($name:literal $kind:ident: $prepare:expr => $act:expr;)*) => {
        /// All operations.
        pub const OPERATIONS: [Operation; [$($name),*].len()] = [$(Operation {
            name: $name,
            prepare: $prepare,
            act: $act,
            is_atomic: Kind::$kind as u8 == Kind::Whole as u8,
        }),*];
    };
}

/// The possible effect of an operation that fails.
enum Kind {
    /// No effect.
    Whole,
    /// A part of the effect.
    Parts,
}

operations! {
    "create" Whole: nothing => |d| create(d, "a");
    "mkdir" Whole: nothing => |d| fs::create_dir(d.join("a"));
    "mkfifo" Whole: nothing => make_fifo;
    "symlink" Whole: nothing => |d| symlink("somewhere else", d.join("a"));
    "long symlink" Whole: nothing => |d| symlink(LONG, d.join("a"));
    "link" Whole: |d| create(d, "a") => |d| fs::hard_link(d.join("a"), d.join("b"));
    "rename" Whole: |d| create(d, "a") => |d| fs::rename(d.join("a"), d.join("b"));
    "rename over" Parts: two_files => |d| fs::rename(d.join("a"), d.join("b"));
    "rename a directory" Whole: two_directories => |d| fs::rename(d.join("a"), d.join("b/c"));
    "exchange" Whole: two_files => exchange;
    "unlink" Parts: |d| file(d, "a", 20) => |d| fs::remove_file(d.join("a"));
    "rmdir" Whole: two_directories => |d| fs::remove_dir(d.join("a"));
    "O_TMPFILE" Parts: nothing => temporary;
    "lookup" Whole: uncached_file => |d| fs::symlink_metadata(d.join("a")).map(drop);
    "lookup of a symlink" Whole: uncached_link => |d| fs::read_link(d.join("a")).map(drop);
    "readdir" Whole: many_names => read_directory;
    "set an attribute" Whole: |d| create(d, "a") => |d| set_attribute(d, b"value");
    "replace an attribute" Whole: attribute => |d| set_attribute(d, b"other value");
    "remove an attribute" Whole: attribute => remove_attribute;
    "get an attribute" Whole: attribute => get_attribute;
    "list attributes" Whole: attribute => list_attributes;
    "chmod" Whole: |d| create(d, "a") => |d| {
        fs::set_permissions(d.join("a"), Permissions::from_mode(0o600))
    };
    "read" Whole: |d| file(d, "a", 4) => |d| open(d, "a")?.read_exact_at(&mut [0; 9000], 1);
    "write" Parts: |d| create(d, "a") => |d| open(d, "a")?.write_all_at(&[1; 9000], 5000);
    "write over" Parts: |d| file(d, "a", 4) => |d| open(d, "a")?.write_all_at(&[1; 9000], 5);
    "write to shared blocks" Parts: clone => |d| open(d, "b")?.write_all_at(&[1; 9000], 5000);
    "append" Parts: |d| file(d, "a", 1) => |d| open(d, "a")?.write_all_at(&[1; 10], PAGE - 5);
    "write far after the end" Parts: odd_file => |d| open(d, "a")?.write_all_at(&[1], 1 << 30);
    "truncate" Parts: |d| file(d, "a", 20) => |d| open(d, "a")?.set_len(5000);
    "truncate to more" Parts: odd_file => |d| open(d, "a")?.set_len(1 << 20);
    "truncate pieces" Parts: pieces => |d| open(d, "a")?.set_len(5000);
    "fallocate" Parts: pieces => |d| allocate(d, 0, 0, 40 * PAGE);
    "punch" Parts: |d| file(d, "a", 20) => |d| {
        allocate(d, libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, 5000, 20000)
    };
    "zero" Parts: |d| file(d, "a", 20) => |d| allocate(d, libc::FALLOC_FL_ZERO_RANGE, 5000, 20000);
    "unshare" Parts: clone => |d| allocate(d, libc::FALLOC_FL_UNSHARE_RANGE, 5000, 20000);
    "reflink" Parts: file_and_none => |d| reflink(d);
    "reflink over" Parts: two_large_files => |d| reflink(d);
    "dedupe" Parts: two_large_files => dedupe;
    "fsync" Whole: |d| file(d, "a", 4) => |d| open(d, "a")?.sync_all();
    "fiemap" Whole: pieces => fiemap;
    "SEEK_HOLE" Whole: pieces => seek;
    "fault, read of a hole" Parts: hole => |d| fault(d, "a", false);
    "fault, read" Parts: |d| file(d, "a", 4) => |d| fault(d, "a", false);
    "fault, write to a hole" Parts: hole => |d| fault(d, "a", true);
    "fault, write" Parts: |d| file(d, "a", 4) => |d| fault(d, "a", true);
    "fault, write to a shared block" Parts: clone => |d| fault(d, "b", true);
    "fault, huge page" Parts: |d| file(d, "a", HUGE / PAGE) => |d| fault(d, "a", true);
}

const LONG: &str = match str_of(&[b'x'; 4000]) {
    Ok(text) => text,
    Err(_) => "",
};

const fn str_of(bytes: &'static [u8]) -> Result<&'static str, std::str::Utf8Error> {
    std::str::from_utf8(bytes)
}

const ATTRIBUTE: &CStr = c"user.attribute";

// Preparations
// -------------------------------------------------------------------------------------------------

fn nothing(_: &Path) -> io::Result<()> {
    Ok(())
}

fn create(folder: &Path, name: &str) -> io::Result<()> {
    File::create_new(folder.join(name)).map(drop)
}

/// Creates a file of `blocks` blocks, which are contiguous if there is space.
fn file(folder: &Path, name: &str, blocks: u64) -> io::Result<()> {
    let bytes = vec![b'f'; (blocks * PAGE) as usize];

    create(folder, name)?;
    open(folder, name)?.write_all_at(&bytes, 0)
}

fn odd_file(folder: &Path) -> io::Result<()> {
    file(folder, "a", 1)?;
    open(folder, "a")?.set_len(1000)
}

/// Creates a file with a hole after each block.
fn pieces(folder: &Path) -> io::Result<()> {
    create(folder, "a")?;
    for number in 0..20 {
        open(folder, "a")?.write_all_at(b"p", 2 * number * PAGE)?;
    }
    Ok(())
}

fn hole(folder: &Path) -> io::Result<()> {
    create(folder, "a")?;
    open(folder, "a")?.set_len(10 * PAGE)
}

fn two_files(folder: &Path) -> io::Result<()> {
    create(folder, "a")?;
    create(folder, "b")
}

fn two_large_files(folder: &Path) -> io::Result<()> {
    file(folder, "a", 4)?;
    file(folder, "b", 4)
}

fn file_and_none(folder: &Path) -> io::Result<()> {
    file(folder, "a", 4)?;
    create(folder, "b")
}

fn clone(folder: &Path) -> io::Result<()> {
    file(folder, "a", 20)?;
    create(folder, "b")?;
    reflink(folder)
}

fn two_directories(folder: &Path) -> io::Result<()> {
    fs::create_dir(folder.join("a"))?;
    fs::create_dir(folder.join("b"))
}

fn many_names(folder: &Path) -> io::Result<()> {
    (0..100).try_for_each(|number| create(folder, &format!("name {number}")))
}

fn attribute(folder: &Path) -> io::Result<()> {
    create(folder, "a")?;
    set_attribute(folder, b"value")
}

/// Creates a file that is not in the inode cache.
fn uncached_file(folder: &Path) -> io::Result<()> {
    create(folder, "a")?;
    drop_inode_cache()
}

fn uncached_link(folder: &Path) -> io::Result<()> {
    symlink("somewhere", folder.join("a"))?;
    drop_inode_cache()
}

fn drop_inode_cache() -> io::Result<()> {
    fs::write("/proc/sys/vm/drop_caches", "2")
}

// Operations
// -------------------------------------------------------------------------------------------------

fn open(folder: &Path, name: &str) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(folder.join(name))
}

fn c_path(folder: &Path, name: &str) -> io::Result<CString> {
    Ok(CString::new(folder.join(name).as_os_str().as_bytes())?)
}

/// The result of a system call that returns a negative number on failure.
fn result(status: i64) -> io::Result<i64> {
    match status {
        0.. => Ok(status),
        _ => Err(io::Error::last_os_error()),
    }
}

fn make_fifo(folder: &Path) -> io::Result<()> {
    let path = c_path(folder, "a")?;

    // SAFETY: `path` is a C string that lives until `mkfifo()` returns.
    result(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }.into()).map(drop)
}

fn exchange(folder: &Path) -> io::Result<()> {
    let (a, b) = (c_path(folder, "a")?, c_path(folder, "b")?);
    let here = libc::AT_FDCWD;

    // SAFETY: `a` and `b` are C strings that live until `renameat2()` returns.
    let status =
        unsafe { libc::renameat2(here, a.as_ptr(), here, b.as_ptr(), libc::RENAME_EXCHANGE) };

    result(status.into()).map(drop)
}

fn temporary(folder: &Path) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_TMPFILE)
        .open(folder)
        .map(drop)
}

fn read_directory(folder: &Path) -> io::Result<()> {
    let directory = File::open(folder)?;
    let mut entries = [0_u8; 4096];

    loop {
        // SAFETY: `getdents64()` writes at most `entries.len()` bytes to `entries`.
        let status = unsafe {
            libc::syscall(
                libc::SYS_getdents64,
                directory.as_raw_fd(),
                entries.as_mut_ptr(),
                entries.len(),
            )
        };

        if result(status)? == 0 {
            return Ok(());
        }
    }
}

fn set_attribute(folder: &Path, value: &[u8]) -> io::Result<()> {
    let path = c_path(folder, "a")?;

    // SAFETY: `path` and `ATTRIBUTE` are C strings, and `setxattr()` reads `value.len()` bytes of
    // `value`.
    let status = unsafe {
        libc::setxattr(
            path.as_ptr(),
            ATTRIBUTE.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };

    result(status.into()).map(drop)
}

fn remove_attribute(folder: &Path) -> io::Result<()> {
    let path = c_path(folder, "a")?;

    // SAFETY: `path` and `ATTRIBUTE` are C strings that live until `removexattr()` returns.
    result(unsafe { libc::removexattr(path.as_ptr(), ATTRIBUTE.as_ptr()) }.into()).map(drop)
}

fn get_attribute(folder: &Path) -> io::Result<()> {
    let path = c_path(folder, "a")?;
    let mut value = [0_u8; 100];

    // SAFETY: `path` and `ATTRIBUTE` are C strings, and `getxattr()` writes at most `value.len()`
    // bytes to `value`.
    let status = unsafe {
        libc::getxattr(
            path.as_ptr(),
            ATTRIBUTE.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };

    result(status as i64).map(drop)
}

fn list_attributes(folder: &Path) -> io::Result<()> {
    let path = c_path(folder, "a")?;
    let mut names = [0; 100];

    // SAFETY: `path` is a C string, and `listxattr()` writes at most `names.len()` bytes to
    // `names`.
    let status = unsafe { libc::listxattr(path.as_ptr(), names.as_mut_ptr(), names.len()) };

    result(status as i64).map(drop)
}

fn allocate(folder: &Path, mode: i32, start: u64, len: u64) -> io::Result<()> {
    let file = open(folder, "a")?;

    // SAFETY: `fallocate()` takes no pointers.
    let status = unsafe { libc::fallocate(file.as_raw_fd(), mode, start as i64, len as i64) };

    result(status.into()).map(drop)
}

fn ioctl(file: RawFd, request: u64, argument: *mut u64) -> io::Result<()> {
    // SAFETY: The callers pass an array that is large enough for all that the request reads and
    // writes.
    result(unsafe { libc::ioctl(file, request, argument) }.into()).map(drop)
}

fn reflink(folder: &Path) -> io::Result<()> {
    const FICLONE: u64 = 0x4004_9409;
    let (from, to) = (open(folder, "a")?, open(folder, "b")?);

    // SAFETY: The argument of `FICLONE` is a file descriptor, not a pointer.
    result(unsafe { libc::ioctl(to.as_raw_fd(), FICLONE, from.as_raw_fd()) }.into()).map(drop)
}

fn dedupe(folder: &Path) -> io::Result<()> {
    const FIDEDUPERANGE: u64 = 0xc018_9436;
    let (from, to) = (open(folder, "a")?, open(folder, "b")?);
    // `struct file_dedupe_range` with one destination: source offset, length, number of
    // destinations; then the file descriptor of the destination, its offset, the bytes done, and
    // the status.
    let mut argument = [0, 4 * PAGE, 1, to.as_raw_fd() as u64, 0, 0, 0];

    ioctl(from.as_raw_fd(), FIDEDUPERANGE, argument.as_mut_ptr())?;
    // CAST: The lower half is the status, an `i32`: 0, or a negative errno.
    match argument[6] as i32 {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(-errno)),
    }
}

fn fiemap(folder: &Path) -> io::Result<()> {
    const FS_IOC_FIEMAP: u64 = 0xc020_660b;
    let file = open(folder, "a")?;
    // `struct fiemap`: start; length; flags and the number of found extents; the number of extents
    // that fit; and space for these extents, of 7 numbers each.
    let mut argument = [0; 4 + 7 * 8];

    argument[1] = 1 << 20;
    argument[3] = 8;
    ioctl(file.as_raw_fd(), FS_IOC_FIEMAP, argument.as_mut_ptr())
}

fn seek(folder: &Path) -> io::Result<()> {
    let file = open(folder, "a")?;

    // SAFETY: `lseek()` takes no pointers.
    result(unsafe { libc::lseek(file.as_raw_fd(), 0, libc::SEEK_HOLE) }).map(drop)
}

/// Reads or writes the first byte of a file through a mapping with the size of a huge page.
fn fault(folder: &Path, name: &str, is_write: bool) -> io::Result<()> {
    let file = open(folder, name)?;

    // SAFETY: `mmap()` chooses the address of a new mapping of `HUGE` bytes, and no reference to it
    // exists. A fault that fails raises SIGBUS, which ends the program.
    unsafe {
        let start = libc::mmap(
            ptr::null_mut(),
            HUGE as usize,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        );

        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        match is_write {
            true => start.cast::<u8>().write_volatile(1),
            false => drop(start.cast::<u8>().read_volatile()),
        }
        libc::munmap(start, HUGE as usize);
    }
    Ok(())
}
