// SPDX-License-Identifier: GPL-2.0

//! System calls and mappings.

use std::arch::asm;
use std::arch::x86_64::{_mm_sfence, _mm_stream_si64};
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Error};
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::ptr::{self, NonNull};

use nix::sys::mman::{self, MapFlags, MmapAdvise, MsFlags, ProtFlags};
use nix::sys::signal::{self, SigHandler, Signal};

use crate::span::{Span, PAGE};

/// The size in bytes of a store that bypasses the caches.
const WORD: usize = 8;

/// `FIDEDUPERANGE_DIFFERS`.
const DIFFERS: i32 = 1;

/// `struct file_clone_range` of linux/fs.h.
#[repr(C)]
pub struct CloneRange {
    from: i64,
    from_at: u64,
    len: u64,
    at: u64,
}

/// `struct file_dedupe_range` of linux/fs.h, with one destination.
#[repr(C)]
pub struct DedupeRange {
    from_at: u64,
    len: u64,
    count: u16,
    reserved: [u16; 3],
    to: i64,
    to_at: u64,
    done: u64,
    status: i32,
    reserved_too: u32,
}

mod ioctls {
    nix::ioctl_write_int!(clone, 0x94, 9);
    nix::ioctl_write_ptr!(clone_range, 0x94, 13, super::CloneRange);
    // The ioctl number contains the size of the structure without its destinations: 24 bytes.
    nix::ioctl_readwrite_bad!(
        dedupe_range,
        nix::request_code_readwrite!(0x94, 54, 24),
        super::DedupeRange
    );
}

/// Clones a whole file.
pub fn clone(from: RawFd, to: RawFd) -> io::Result<()> {
    // SAFETY: The argument of `FICLONE` is a file descriptor, not a pointer.
    unsafe { ioctls::clone(to, from as u64) }?;
    Ok(())
}

/// Clones a range.
pub fn clone_range(from: RawFd, span: Span, to: RawFd, at: usize) -> io::Result<()> {
    let request = CloneRange {
        from: from.into(),
        from_at: span.at as u64,
        len: span.len as u64,
        at: at as u64,
    };

    // SAFETY: `FICLONERANGE` only reads one `struct file_clone_range`, which `request` is.
    unsafe { ioctls::clone_range(to, &request) }?;
    Ok(())
}

/// Shares two ranges if their contents are equal. Returns whether they are.
pub fn dedupe_range(from: RawFd, span: Span, to: RawFd, at: usize) -> io::Result<bool> {
    let mut request = DedupeRange {
        from_at: span.at as u64,
        len: span.len as u64,
        count: 1,
        reserved: [0; 3],
        to: to.into(),
        to_at: at as u64,
        done: 0,
        status: 0,
        reserved_too: 0,
    };

    // SAFETY: `FIDEDUPERANGE` reads and writes one `struct file_dedupe_range` with `count`
    // destinations. `request` has space for one, and `count` is 1.
    unsafe { ioctls::dedupe_range(from, &mut request) }?;
    match request.status {
        DIFFERS => Ok(false),
        0 if request.done == span.len as u64 => Ok(true),
        0 => Err(Error::other(format!("only {} bytes shared", request.done))),
        error => Err(Error::from_raw_os_error(-error)),
    }
}

fn c_string(bytes: &OsStr) -> io::Result<CString> {
    Ok(CString::new(bytes.as_bytes())?)
}

/// Gives an open file a name.
pub fn link_open(fd: RawFd, to: &Path) -> io::Result<()> {
    let from = c_string(format!("/proc/self/fd/{fd}").as_ref())?;
    let to = c_string(to.as_os_str())?;
    let cwd = libc::AT_FDCWD;

    let flags = libc::AT_SYMLINK_FOLLOW;
    // SAFETY: `from` and `to` are C strings that live until `linkat()` returns.
    let answer = unsafe { libc::linkat(cwd, from.as_ptr(), cwd, to.as_ptr(), flags) };

    check(answer as isize)?;
    Ok(())
}

fn check(answer: isize) -> io::Result<usize> {
    usize::try_from(answer).map_err(|_| Error::last_os_error())
}

/// Sets an extended attribute.
pub fn set_attribute(file: &File, name: &str, value: &[u8]) -> io::Result<()> {
    let name = c_string(name.as_ref())?;
    let start = value.as_ptr().cast();

    // SAFETY: `name` is a C string, and `fsetxattr()` reads `value.len()` bytes of `value`.
    let answer = unsafe { libc::fsetxattr(file.as_raw_fd(), name.as_ptr(), start, value.len(), 0) };

    check(answer as isize)?;
    Ok(())
}

/// Removes an extended attribute.
pub fn remove_attribute(file: &File, name: &str) -> io::Result<()> {
    let name = c_string(name.as_ref())?;

    // SAFETY: `name` is a C string that lives until `fremovexattr()` returns.
    check(unsafe { libc::fremovexattr(file.as_raw_fd(), name.as_ptr()) } as isize)?;
    Ok(())
}

/// The value of an extended attribute.
pub fn attribute(file: &File, name: &str) -> io::Result<Vec<u8>> {
    let name = c_string(name.as_ref())?;
    let mut value = vec![0; 1 << 16];
    let start = value.as_mut_ptr().cast();

    // SAFETY: `name` is a C string, and `fgetxattr()` writes at most `value.len()` bytes to
    // `value`.
    let len = unsafe { libc::fgetxattr(file.as_raw_fd(), name.as_ptr(), start, value.len()) };
    let len = check(len)?;

    value.truncate(len);
    Ok(value)
}

/// The names of the extended attributes in the namespace `user`.
pub fn attributes(file: &File) -> io::Result<Vec<String>> {
    let mut names = vec![0_u8; 1 << 16];
    let start = names.as_mut_ptr().cast();

    // SAFETY: `flistxattr()` writes at most `names.len()` bytes to `names`.
    let len = check(unsafe { libc::flistxattr(file.as_raw_fd(), start, names.len()) })?;

    Ok(names[..len]
        .split(|byte| *byte == 0)
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .filter(|name| name.starts_with("user."))
        .collect())
}

/// Ignores SIGBUS, so that the program continues when mapped memory fails.
pub fn ignore_failures() -> io::Result<()> {
    // SAFETY: `SIG_IGN` runs no code, and no code relies on the previous handler.
    unsafe { signal::signal(Signal::SIGBUS, SigHandler::SigIgn) }?;
    Ok(())
}

/// Passes a number to the plugin of QEMU that traces stores, `lines.c`. Without the plugin this
/// does nothing.
pub fn mark(number: u64) {
    // SAFETY: A NOP does not access its memory operand. The offset in the operand is "mark".
    unsafe { asm!("nop dword ptr [rax + 0x6b72616d]", in("rax") number) };
}

extern "C" fn ignore(_signal: libc::c_int) {}

/// A mapping of a file. It can be longer than the file.
pub struct Mapping {
    start: NonNull<u8>,
    len: usize,
    is_synchronous: bool,
}

impl Mapping {
    pub fn new(file: &File, len: usize) -> io::Result<Self> {
        let flags = MapFlags::from_bits_retain(libc::MAP_SHARED_VALIDATE | libc::MAP_SYNC);
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let len = NonZeroUsize::new(len).ok_or(io::ErrorKind::InvalidInput)?;
        let map = |flags| {
            // SAFETY: The kernel chooses the address, so `mmap()` replaces no other mapping.
            unsafe { mman::mmap(None, len, protection, flags, file, 0) }
        };
        // Not every filesystem supports MAP_SYNC.
        let synchronous = map(flags);
        let is_synchronous = synchronous.is_ok();
        let start = synchronous.or_else(|_| map(MapFlags::MAP_SHARED))?;

        Ok(Self {
            start: start.cast(),
            len: len.get(),
            is_synchronous,
        })
    }

    /// Whether a write is durable once it has left the caches of the processor (`MAP_SYNC`).
    pub fn is_synchronous(&self) -> bool {
        self.is_synchronous
    }

    /// # Panics
    ///
    /// If the range is beyond the mapping.
    fn at(&self, span: Span) -> *mut u8 {
        assert!(span.end() <= self.len);
        // SAFETY: The assertion above ensures that the address is in the mapping.
        unsafe { self.start.as_ptr().add(span.at) }
    }

    pub fn write(&self, at: usize, bytes: &[u8]) {
        let len = bytes.len();

        // SAFETY: `at()` checks that the range is in the mapping, and no reference to the mapping
        // exists. A range beyond the last page of the file raises SIGBUS, which ends the test.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.at(Span { at, len }), len) }
    }

    /// Writes whole words with stores that bypass the caches, and waits until they have arrived.
    pub fn write_through(&self, at: usize, bytes: &[u8]) {
        let first = at & !(WORD - 1);
        let len = (at + bytes.len()).next_multiple_of(WORD) - first;
        let mut words = self.read(Span { at: first, len });
        let to = self.at(Span { at: first, len });

        words[at - first..][..bytes.len()].copy_from_slice(bytes);
        for (index, word) in words.chunks_exact(WORD).enumerate() {
            let word = word
                .iter()
                .rev()
                .fold(0, |word, byte| (word << 8) | i64::from(*byte));

            // SAFETY: `at()` checks that the range is in the mapping, and no reference to the
            // mapping exists. The address is aligned to a word, because `first` and the mapping
            // are.
            unsafe { _mm_stream_si64(to.add(index * WORD).cast(), word) };
        }
        // SAFETY: Every x86-64 processor has SSE, which includes this instruction.
        unsafe { _mm_sfence() };
    }

    pub fn read(&self, span: Span) -> Vec<u8> {
        let mut bytes = vec![0; span.len];

        // SAFETY: As in `write()`: `at()` checks the range, and no reference to the mapping exists.
        unsafe { ptr::copy_nonoverlapping(self.at(span), bytes.as_mut_ptr(), span.len) }
        bytes
    }

    /// Writes a range to a file with one system call. Returns the number of written bytes.
    pub fn write_to(&self, span: Span, to: &File, at: usize) -> io::Result<usize> {
        // SAFETY: `pwrite()` reads `span.len` bytes, and `at()` checks that they are in the
        // mapping.
        check(unsafe { libc::pwrite(to.as_raw_fd(), self.at(span).cast(), span.len, at as i64) })
    }

    /// Reads a range from a file with one system call. Returns the number of read bytes.
    pub fn read_from(&self, span: Span, from: &File, at: usize) -> io::Result<usize> {
        // SAFETY: `pread()` writes at most `span.len` bytes. `at()` checks that they are in the
        // mapping, and no reference to the mapping exists.
        check(unsafe { libc::pread(from.as_raw_fd(), self.at(span).cast(), span.len, at as i64) })
    }

    /// Makes the memory of the page at `at` fail. Returns its physical address.
    pub fn fail(&self, at: usize) -> io::Result<u64> {
        let start = self.at(Span { at, len: PAGE });
        let mut entry = 0_u64.to_le_bytes();
        let place = start as usize / PAGE * size_of_val(&entry);

        // Fault the page in. The read is volatile, because the compiler removes an unused one.
        // SAFETY: `at()` checks that the page is in the mapping.
        unsafe { start.read_volatile() };
        // The lower 55 bits of an entry are the number of the page frame.
        File::open("/proc/self/pagemap")?.read_exact_at(&mut entry, place as u64)?;

        let address = (u64::from_le_bytes(entry) & ((1 << 55) - 1)) * PAGE as u64;
        let start = NonNull::new(start).ok_or(io::ErrorKind::InvalidInput)?;

        if address == 0 {
            return Err(io::Error::other(
                "/proc/self/pagemap has no frame for a mapped page",
            ));
        }

        // SAFETY: The handler does nothing, so it is safe in a signal.
        let before = unsafe { signal::signal(Signal::SIGBUS, SigHandler::Handler(ignore)) }?;
        // SAFETY: `at()` checks that the page is in the mapping, and no reference to it exists.
        let failed = unsafe { mman::madvise(start.cast(), PAGE, MmapAdvise::MADV_HWPOISON) };

        // SAFETY: `before` is the handler that `signal()` has returned above.
        unsafe { signal::signal(Signal::SIGBUS, before) }?;
        failed?;
        Ok(address)
    }

    pub fn sync(&self, span: Span) -> io::Result<()> {
        let start = span.at & !(PAGE - 1);
        let len = span.end() - start;
        let at = self.at(Span { at: start, len });
        let at = NonNull::new(at).ok_or(io::ErrorKind::InvalidInput)?;

        // SAFETY: `msync()` only writes back the pages, and `at()` checks that they are in the
        // mapping.
        unsafe { mman::msync(at.cast(), len, MsFlags::MS_SYNC)? };
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `self.start` and `self.len` are a mapping that `new()` made, and no reference to
        // it exists.
        let _ = unsafe { mman::munmap(self.start.cast(), self.len) };
    }
}
