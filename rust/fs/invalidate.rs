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
    FileSystem,
    Inode,
    Place, //
};

/// The treatment of data that was written through a mapping, and was not written back yet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dirty {
    /// Write the data back.
    WriteBack,
    /// Discard the data.
    Discard,
}

/// Whether the mapping of a file has entries. If it has none, no page of the file is mapped or
/// dirty.
///
/// # Safety
///
/// `inode` must be valid. No page fault of it may be running.
pub(super) unsafe fn has_entries(inode: *mut bindings::inode) -> bool {
    // SAFETY: `inode` is valid by the safety requirements. Only page faults add entries, and none
    // is running.
    unsafe { (*(*inode).i_mapping).nrpages != 0 }
}

/// Unmaps the pages of a file from byte `start` to byte `last`. Returns false if a page has users
/// other than mappings, such as direct I/O.
///
/// Does not wait, unlike `dax_break_layout()` with a callback and `dax_break_layout_final()`. These
/// wait until no process maps a page, and a process can map the page for ever through another file
/// that shares the page.
///
/// # Safety
///
/// `inode` must be valid. No page fault of it may be running or begin.
pub(super) unsafe fn unmap_idle(
    inode: *mut bindings::inode,
    start: bindings::loff_t,
    last: bindings::loff_t,
) -> bool {
    // SAFETY: `inode` is valid, and no page fault of it is running, by the safety requirements.
    unsafe { bindings::dax_layout_busy_page_range((*inode).i_mapping, start, last) }.is_null()
}

/// Removes the entries of pages from the mapping of a file, from byte `start` to byte `last`. The
/// kernel no longer records then which of the pages are dirty.
///
/// # Safety
///
/// `inode` must be valid. [`unmap_idle()`] must have returned true for all bytes of the entries,
/// and no page fault may have run since.
pub(super) unsafe fn remove_entries(
    inode: *mut bindings::inode,
    start: bindings::loff_t,
    last: bindings::loff_t,
    shared_pages: &SharedPages,
) {
    shared_pages.with_lock(|| {
        // SAFETY: The inode is valid, and its pages are not in use, by the safety requirements.
        unsafe { bindings::dax_delete_mapping_range((*inode).i_mapping, start, last) };
    });
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
        if dirty == Dirty::WriteBack && !self.invalidate_failed(invalidate_lock) {
            return Ok(false);
        }

        // SAFETY: `self` is a valid inode by the type invariants of `Inode`, and `invalidate_lock`
        // blocks its page faults.
        if !unsafe { has_entries(self.as_raw()) } {
            return Ok(true);
        }

        let whole = self.whole_entries(range, invalidate_lock);
        let (start, last) = raw(whole);

        // SAFETY: `self` is a valid inode by the type invariants of `Inode`, and `invalidate_lock`
        // blocks its page faults.
        if !unsafe { unmap_idle(self.as_raw(), start, last) } {
            return Ok(false);
        }

        // From here on, neither processes nor devices write to the pages.
        match dirty {
            // SAFETY: `self` is a valid inode by the type invariants of `Inode`, so its mapping is
            // valid.
            Dirty::WriteBack => to_result(unsafe {
                bindings::filemap_write_and_wait_range(self.mapping(), start, last)
            })?,
            Dirty::Discard => {
                let before = ByteRange::between(whole.start(), range.start());
                let after = ByteRange::between(range.end(), whole.end());

                for rest in [before, after].into_iter().flatten() {
                    self.write_back_unmapped(rest, invalidate_lock);
                }
            }
        }

        let shared_pages = self.super_block().shared_pages();

        // SAFETY: `self` is a valid inode by the type invariants of `Inode`. `unmap_idle()` has
        // returned true, and `invalidate_lock` blocks page faults.
        unsafe { remove_entries(self.as_raw(), start, last, shared_pages) };
        Ok(true)
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
                is_done &= self.try_unmap(piece, Dirty::Discard, invalidate_lock) == Ok(true);
            }
            Ok(())
        });

        match found {
            Ok(()) => is_done,
            Err(EINTR) => false,
            // `map()` fails, for example after a shutdown. So invalidate all of `pages`.
            Err(_) => self.try_unmap(range, Dirty::Discard, invalidate_lock) == Ok(true),
        }
    }

    /// `range` and the rest of the huge pages at its ends, which the kernel can only remove as a
    /// whole.
    fn whole_entries(
        &self,
        range: ByteRange<space::File>,
        _invalidate_lock: &InvalidateLock<'_>,
    ) -> ByteRange<space::File> {
        let pages = range.pages();
        let first = pages.start();
        let start = first & !self.entry_mask(first);
        let start = start.saturating_mul(PAGE_SIZE).min(range.start());

        // No page is beyond the largest file offset.
        let end = match pages.end().saturating_sub(1) {
            last if range.end() < MAX_SIZE => (last | self.entry_mask(last))
                .saturating_add(1)
                .saturating_mul(PAGE_SIZE),
            _ => range.end(),
        };

        ByteRange::between(start, end).unwrap_or(range)
    }

    /// The number of pages, less 1, of the entry that the mapping has for the page `index`.
    fn entry_mask(&self, index: u64) -> u64 {
        // CAST: A `usize` is a `u64` here.
        let index = index as usize;
        // SAFETY: `self` is a valid inode by the type invariants of `Inode`, so its mapping is
        // valid. `xa_get_order()` takes the RCU lock.
        let order = unsafe { bindings::xa_get_order(&raw mut (*self.mapping()).i_pages, index) };

        u32::try_from(order)
            .ok()
            .and_then(|order| 1_u64.checked_shl(order))
            .map_or(0, |count| count.saturating_sub(1))
    }

    /// Writes back the CPU caches for the good blocks of `range`, which no process has mapped.
    ///
    /// The kernel's writeback writes back whole huge pages, and the kernel must have an entry that
    /// says that they are dirty. This function is for the other cases.
    pub(super) fn write_back_unmapped(
        &self,
        range: ByteRange<space::File>,
        _invalidate_lock: &InvalidateLock<'_>,
    ) {
        let mut rest = range.blocks();

        while let Some(range) = rest {
            // SAFETY: `cond_resched()` requires only a context that may sleep, and the lock sleeps,
            // too.
            unsafe { bindings::cond_resched() };

            // After a shutdown, nothing becomes durable.
            let Ok((piece, place)) = self.first_piece(range) else {
                break;
            };

            if let Place::Mapped { start, .. } = place {
                self.write_back_piece(start, piece.len());
            }
            rest = ByteRange::between(piece.end(), range.end());
        }
        let _ = self.super_block().volume().fence();
    }

    /// Writes back the CPU caches for `len` bytes of the volume from `start` on. Skips pages that
    /// the driver reports as bad.
    fn write_back_piece(&self, start: u64, len: u64) {
        let volume = self.super_block().volume();
        let piece = ByteRange::<space::Volume>::new(start, len);

        if piece.is_some_and(|piece| volume.write_back(piece).is_err()) {
            for page in (0..len).step_by(PAGE_SIZE as usize) {
                // A page that cannot be written back is bad.
                if let Some(page) = ByteRange::new(start.saturating_add(page), PAGE_SIZE) {
                    let _ = volume.write_back(page);
                }
            }
        }
    }
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
    fn last_byte_of_all() -> Result {
        let all = ByteRange::between(4096, MAX_SIZE).ok_or(EINVAL)?;

        assert_eq!(raw(all), (4096, i64::MAX));
        assert_eq!(raw(ByteRange::between(0, 4096).ok_or(EINVAL)?), (0, 4095));
        Ok(())
    }
}
