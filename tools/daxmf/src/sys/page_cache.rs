// SPDX-License-Identifier: GPL-2.0

//! Pages of files in the page cache: whether they are there, and a mapping of them.

use std::ffi::c_void;
use std::fs::File;
use std::io::{self, Error};
use std::mem;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::sys::mman::{self, MapFlags, MsFlags, ProtFlags};

/// Size of a page of memory, in bytes. This is amd64.
pub const PAGE: u64 = 4096;

/// `cachestat()` on amd64.
const SYS_CACHESTAT: libc::c_long = 451;

/// Whether a file has DAX, and so no pages in the page cache.
pub fn has_dax(file: &File) -> io::Result<bool> {
    // SAFETY: All of it are integers, for which zero is a value.
    let mut status: libc::statx = unsafe { mem::zeroed() };

    // SAFETY: The path is empty, and there is room for the status.
    let answer = unsafe {
        libc::statx(
            file.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            0,
            &mut status,
        )
    };

    Errno::result(answer)?;
    Ok(status.stx_attributes & libc::STATX_ATTR_DAX as u64 != 0)
}

/// Whether the page cache has the page at an offset, which may not have been read yet.
fn has_page(file: &File, offset: u64) -> io::Result<bool> {
    let range = [offset, PAGE];
    let mut counts = [0_u64; 5];

    // SAFETY: The kernel reads a `struct cachestat_range`, two u64, and writes a `struct
    // cachestat`, five.
    let answer = unsafe { libc::syscall(SYS_CACHESTAT, file.as_raw_fd(), &range, &mut counts, 0) };

    Errno::result(answer)?;
    Ok(counts[0] != 0)
}

/// A shared mapping of pages of a file. Nothing is read or stored through it.
///
/// # Invariants
///
/// `start` is what `mmap()` returned for `length` bytes.
pub struct Mapping<'a> {
    file: &'a File,
    offset: u64,
    start: NonNull<c_void>,
    length: usize,
}

impl<'a> Mapping<'a> {
    /// Maps `pages` of a file, by their numbers; for writing, if it is open for that.
    pub fn new(file: &'a File, pages: &Range<u64>, is_writable: bool) -> io::Result<Self> {
        let bytes = (pages.end - pages.start) * PAGE;
        let offset = pages.start * PAGE;
        let length = usize::try_from(bytes)
            .ok()
            .and_then(NonZeroUsize::new)
            .ok_or(Errno::EINVAL)?;
        let protection = match is_writable {
            true => ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
            false => ProtFlags::PROT_READ,
        };
        let at = offset.try_into().map_err(|_| Errno::EOVERFLOW)?;
        let flags = MapFlags::MAP_SHARED;
        // SAFETY: mmap() chooses the place.
        let start = unsafe { mman::mmap(None, length, protection, flags, file, at) }?;

        // INVARIANT: This is what mmap() returned.
        Ok(Self {
            file,
            offset,
            start,
            length: length.get(),
        })
    }

    /// Whether a page, counted from the first, is in the page cache, and has been read. If so, it
    /// is mapped now. It is not read from the device, unless it leaves the page cache at this
    /// moment.
    pub fn is_cached(&self, page: u64) -> io::Result<bool> {
        Ok(has_page(self.file, self.offset + page * PAGE)?
            && self.advise(page, libc::MADV_POPULATE_READ).is_ok())
    }

    /// Has a page written back, as a store would, but without a store.
    ///
    /// The filesystem is asked for leave as with a store, which it can refuse.
    pub fn dirty(&self, page: u64) -> io::Result<()> {
        self.advise(page, libc::MADV_POPULATE_WRITE)
    }

    /// Has the kernel split the folio that a page is in. It may have reasons not to.
    ///
    /// A filesystem that is asked for leave to change a page allocates all of the folio.
    pub fn split(&self, page: u64) {
        let _ = self.advise(page, libc::MADV_COLD);
    }

    fn advise(&self, page: u64, advice: i32) -> io::Result<()> {
        let at = (page * PAGE) as usize;

        if at >= self.length {
            return Err(Errno::EINVAL.into());
        }
        // SAFETY: By the invariant the page is mapped, and none of the advices takes it away.
        let answer =
            unsafe { libc::madvise(self.start.as_ptr().byte_add(at), PAGE as usize, advice) };

        Errno::result(answer)?;
        Ok(())
    }

    /// Writes back what is dirty, and waits until the device has it.
    pub fn sync(&self) -> io::Result<()> {
        // SAFETY: By the invariant all of it is mapped.
        unsafe { mman::msync(self.start, self.length, MsFlags::MS_SYNC) }.map_err(Error::from)
    }
}

impl Drop for Mapping<'_> {
    fn drop(&mut self) {
        // SAFETY: By the invariant all of it is mapped, and no reference to it was ever made.
        let _ = unsafe { mman::munmap(self.start, self.length) };
    }
}
