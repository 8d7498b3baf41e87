// SPDX-License-Identifier: GPL-2.0

//! Removes the pages of a file from the page tables of processes, and from the mapping, in which
//! the kernel records the pages to be written back.
//!
//! Reference: [`fs/dax.c`](srctree/fs/dax.c)

use kernel::{
    error::to_result,
    prelude::*, //
};

use crate::{
    bindings,
    range::{
        space,
        ByteRange,
        PageRange,
        PAGE_SIZE, //
    },
};

use super::{
    blocks::MAX_SIZE,
    lock::InvalidateLock,
    shared_pages::SharedPages,
    volume::HUGE,
    FileSystem,
    Inode,
    Place,
    Purpose, //
};

/// The treatment of data that was written through a mapping, and was not written back yet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dirty {
    /// Write the data back.
    WriteBack,
    /// Discard the data.
    Discard,
}

/// Unmaps the pages of a file from byte `start` to byte `last`, and removes them from its mapping.
///
/// Does not wait, unlike `dax_break_layout()` with a callback and `dax_break_layout_final()`. These
/// wait until no process maps a page, and a process can map the page for ever through another file
/// that shares the page.
///
/// # Errors
///
/// - `ERESTARTSYS` if a page has users other than mappings, such as direct I/O.
///
/// # Safety
///
/// `inode` must be valid. No page fault of it may be running or begin.
pub(super) unsafe fn break_layout(
    inode: *mut bindings::inode,
    start: bindings::loff_t,
    last: bindings::loff_t,
    shared_pages: &SharedPages,
) -> Result {
    // SAFETY: `inode` is valid, and no page fault of it is running, by the safety requirements.
    let remove = || to_result(unsafe { bindings::dax_break_layout(inode, start, last, None) });

    // SAFETY: `inode` is valid by the safety requirements. Only page faults add pages, and none is
    // running.
    match unsafe { (*(*inode).i_mapping).nrpages } {
        0 => remove(),
        _ => shared_pages.with_lock(remove),
    }
}

impl<T: FileSystem> Inode<T> {
    /// Unmaps a range, and invalidates its pages, so that the range can move to another place.
    ///
    /// Waits for users of a page other than mappings, such as direct I/O. Page faults can run
    /// during the wait, so the caller must find the place of the range after this call.
    ///
    /// # Errors
    ///
    /// - `ERESTARTSYS` if a signal is pending while a page is in use.
    /// - The errors of writing back.
    pub(super) fn unmap(
        &self,
        range: ByteRange<space::File>,
        dirty: Dirty,
        invalidate_lock: &mut InvalidateLock<'_>,
    ) -> Result {
        while !self.try_unmap(range, dirty, invalidate_lock)? {
            invalidate_lock.wait()?;
        }
        Ok(())
    }

    /// Unmaps a range unless a page of it is in use. Returns whether it was unmapped.
    ///
    /// # Errors
    ///
    /// - The errors of writing back.
    pub(super) fn try_unmap(
        &self,
        range: ByteRange<space::File>,
        dirty: Dirty,
        invalidate_lock: &InvalidateLock<'_>,
    ) -> Result<bool> {
        let (start, last) = raw(range);

        if dirty == Dirty::WriteBack {
            if !self.invalidate_failed(invalidate_lock) {
                return Ok(false);
            }
            // The writeback also write-protects the pages. While this thread holds
            // `invalidate_lock`, no page fault makes them writable again.
            //
            // SAFETY: `self` is a valid inode by the type invariants of `Inode`, so its mapping is
            // valid.
            to_result(unsafe {
                bindings::filemap_write_and_wait_range(self.mapping(), start, last)
            })?;
        }

        let shared_pages = self.super_block().shared_pages();

        // SAFETY: `self` is a valid inode by the type invariants of `Inode`, and `invalidate_lock`
        // blocks its page faults.
        match unsafe { break_layout(self.as_raw(), start, last, shared_pages) } {
            Ok(()) => Ok(true),
            Err(ERESTARTSYS) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the file has failed pages for which the kernel can have entries.
    pub(super) fn has_failed_pages(&self) -> bool {
        self.super_block()
            .failed_pages()
            .of_inode(self.number())
            .is_some()
    }

    /// Invalidates the failed pages of the file. Returns false if a page is in use.
    pub(super) fn invalidate_failed(&self, invalidate_lock: &InvalidateLock<'_>) -> bool {
        let failed = self.super_block().failed_pages();

        while let Some((index, recorded)) = failed.of_inode(self.number()) {
            if !self.invalidate_bad(recorded.failed.pages, invalidate_lock) {
                return false;
            }
            failed.remove(index, recorded);
        }
        true
    }

    /// Unmaps and invalidates those of `pages` that are bad. Otherwise the kernel would write them
    /// back, which accesses memory that a machine check has removed from the linear map. Returns
    /// false if a page is in use.
    ///
    /// A page that has failed can have a new place by now, with new data, so this does not
    /// invalidate all of `pages`.
    pub(super) fn invalidate_bad(
        &self,
        pages: PageRange<space::File>,
        invalidate_lock: &InvalidateLock<'_>,
    ) -> bool {
        let Some(range) = pages.bytes() else {
            return true;
        };
        let mut is_done = true;
        let found = self.for_each_piece(range, |piece, place| {
            if let Place::Bad { .. } = place {
                is_done &= self.invalidate_pages(piece.pages(), invalidate_lock);
            }
            Ok(())
        });

        match found {
            Ok(()) => is_done,
            Err(EINTR) => false,
            // `map()` fails, for example after a shutdown. So invalidate all of `pages`.
            Err(_) => self.invalidate_pages(pages, invalidate_lock),
        }
    }

    /// Unmaps and invalidates bad pages, see [`invalidate_bad()`](Self::invalidate_bad).
    fn invalidate_pages(
        &self,
        pages: PageRange<space::File>,
        invalidate_lock: &InvalidateLock<'_>,
    ) -> bool {
        let (Some(range), Some(huge)) = (pages.bytes(), huge_pages_of(pages)) else {
            return true;
        };

        if !self.may_be_huge(range, huge) {
            return self.try_unmap(range, Dirty::Discard, invalidate_lock) == Ok(true);
        }

        // The kernel removes the entry of a huge page as a whole. It then no longer records that
        // good pages of the huge page are dirty, so write these back here.
        self.write_back_good(huge);
        let is_done = self.try_unmap(huge, Dirty::Discard, invalidate_lock) == Ok(true);
        self.write_back_good(huge);
        is_done
    }

    /// Whether there can be an entry of a huge page that includes a part of `range`. `huge` is the
    /// range of all such huge pages.
    fn may_be_huge(&self, range: ByteRange<space::File>, huge: ByteRange<space::File>) -> bool {
        // `dax_fault_check_fallback()` refuses a huge page that ends after the end of the file.
        if huge.end() > self.size().saturating_add(PAGE_SIZE - 1) {
            return false;
        }

        let volume = self.super_block().volume();
        let frames = match self.find(range, Purpose::Read) {
            Ok(found) => match found.window() {
                Some(window) => window
                    .clip_outward(range)
                    .and_then(|range| volume.frames(range)),
                None => return false,
            },
            Err(_) => None,
        };

        // The offset of the page in its huge page must be the same in the file and in memory.
        frames.is_none_or(|frames| frames.start() % HUGE == range.pages().start() % HUGE)
    }

    /// Writes back the CPU caches for those blocks of `range` that are good.
    fn write_back_good(&self, range: ByteRange<space::File>) {
        let volume = self.super_block().volume();

        // A page that cannot be written back is bad, so errors are ignored.
        let _ = self.for_each_piece(range, |piece, place| {
            if let Place::Mapped { start, .. } = place {
                if let Some(range) = ByteRange::new(start, piece.len()) {
                    let _ = volume.write_back(range);
                }
            }
            Ok(())
        });
        let _ = volume.fence();
    }
}

/// The bytes of all huge pages that include a part of `pages`.
fn huge_pages_of(pages: PageRange<space::File>) -> Option<ByteRange<space::File>> {
    let first = pages.start() / HUGE * HUGE;
    let end = pages.end().checked_next_multiple_of(HUGE)?;

    PageRange::between(first, end)?.bytes()
}

/// The first and last byte of a range, as C takes them, limited to the largest file offset.
fn raw(range: ByteRange<space::File>) -> (bindings::loff_t, bindings::loff_t) {
    let cap = |at: u64| bindings::loff_t::try_from(at).unwrap_or(bindings::loff_t::MAX);

    // For `fs/dax.c`, the largest `loff_t` means the end of the file.
    let last = match range.end() {
        MAX_SIZE.. => bindings::loff_t::MAX,
        end => cap(end.saturating_sub(1)),
    };

    (cap(range.start()), last)
}

#[kunit_tests(daxmf_fs_invalidate)]
mod tests {
    use super::*;

    #[test]
    fn huge_pages_around() {
        let bytes = |first, count| {
            PageRange::new(first, count)
                .and_then(huge_pages_of)
                .map(|range| (range.start() >> 21, range.end() >> 21))
        };

        assert_eq!(bytes(0, 1), Some((0, 1)));
        assert_eq!(bytes(511, 1), Some((0, 1)));
        assert_eq!(bytes(511, 2), Some((0, 2)));
        assert_eq!(bytes(512, 512), Some((1, 2)));
        assert_eq!(bytes(u64::MAX >> 12, 1), None);
    }

    #[test]
    fn last_byte_of_all() -> Result {
        let all = ByteRange::between(4096, MAX_SIZE).ok_or(EINVAL)?;

        assert_eq!(raw(all), (4096, i64::MAX));
        assert_eq!(raw(ByteRange::between(0, 4096).ok_or(EINVAL)?), (0, 4095));
        Ok(())
    }
}
