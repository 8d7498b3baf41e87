// SPDX-License-Identifier: GPL-2.0

//! Checks for pages of files in the page cache, and marks them as dirty.

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

/// Size of a page of memory on amd64, in bytes.
pub const PAGE: u64 = 4096;

/// The number of `cachestat()` on amd64.
const SYS_CACHESTAT: libc::c_long = 451;

/// Whether a file has DAX. Such a file has no pages in the page cache.
pub fn has_dax(file: &File) -> io::Result<bool> {
    // SAFETY: All fields of `struct statx` are integers, for which zero is a valid value.
    let mut status: libc::statx = unsafe { mem::zeroed() };

    // SAFETY: statx() reads a C string, and writes a `struct statx` to `status`.
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

/// Whether the page cache has the page at an offset. The page can still be waiting for its read.
fn has_page(file: &File, offset: u64) -> io::Result<bool> {
    let range = [offset, PAGE];
    let mut counts = [0_u64; 5];

    // SAFETY: cachestat() reads a `struct cachestat_range` of two u64 from `range`, and writes a
    // `struct cachestat` of five u64 to `counts`.
    let answer = unsafe { libc::syscall(SYS_CACHESTAT, file.as_raw_fd(), &range, &mut counts, 0) };

    Errno::result(answer)?;
    Ok(counts[0] != 0)
}

/// A shared mapping of pages of a file. No code reads or stores through it.
///
/// # Invariants
///
/// `start` is the address that `mmap()` returned for `length` bytes, which stay mapped.
pub struct Mapping<'a> {
    file: &'a File,
    offset: u64,
    start: NonNull<c_void>,
    length: usize,
}

impl<'a> Mapping<'a> {
    /// Maps `pages` of a file, given by page number. `is_writable` needs a file that is open for
    /// writing.
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
        // SAFETY: mmap() chooses the address, so it replaces no other mapping.
        let start = unsafe { mman::mmap(None, length, protection, flags, file, at) }?;

        // INVARIANT: mmap() returned `start` for `length` bytes. Only `drop()` unmaps them.
        Ok(Self {
            file,
            offset,
            start,
            length: length.get(),
        })
    }

    /// Whether a page is in the page cache and was read successfully. `page` counts from the first
    /// page of the mapping. If so, the page is mapped on return. The page is not read from the
    /// device, unless the kernel reclaims it between the two checks.
    pub fn is_cached(&self, page: u64) -> io::Result<bool> {
        Ok(has_page(self.file, self.offset + page * PAGE)?
            && self.advise(page, libc::MADV_POPULATE_READ).is_ok())
    }

    /// Marks a page as dirty, as a store to it does, but without a store.
    ///
    /// As for a store, the filesystem prepares the page for writing, which can fail.
    pub fn dirty(&self, page: u64) -> io::Result<()> {
        self.advise(page, libc::MADV_POPULATE_WRITE)
    }

    /// Asks the kernel to split the folio of a page. The kernel can refuse, for example if another
    /// process maps the folio.
    ///
    /// A filesystem that prepares a page for writing allocates blocks for all of its folio.
    pub fn split(&self, page: u64) {
        let _ = self.advise(page, libc::MADV_COLD);
    }

    fn advise(&self, page: u64, advice: i32) -> io::Result<()> {
        let at = (page * PAGE) as usize;

        if at >= self.length {
            return Err(Errno::EINVAL.into());
        }
        // SAFETY: By the type invariant, the `length` bytes at `start` are mapped, and `at` is less
        // than `length`. None of the advices that callers pass unmaps the page or changes its
        // contents.
        let answer =
            unsafe { libc::madvise(self.start.as_ptr().byte_add(at), PAGE as usize, advice) };

        Errno::result(answer)?;
        Ok(())
    }

    /// Writes the dirty pages back, and waits until the device has them.
    pub fn sync(&self) -> io::Result<()> {
        // SAFETY: By the type invariant, the `length` bytes at `start` are mapped.
        unsafe { mman::msync(self.start, self.length, MsFlags::MS_SYNC) }.map_err(Error::from)
    }
}

impl Drop for Mapping<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, the `length` bytes at `start` are mapped. No reference to
        // them exists.
        let _ = unsafe { mman::munmap(self.start, self.length) };
    }
}
