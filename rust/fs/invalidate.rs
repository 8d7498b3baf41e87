// SPDX-License-Identifier: GPL-2.0

//! Taking the pages of a file from processes that have them mapped, and from the kernel, which
//! knows which of them are to be written back.
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

/// What is to become of what was written through a mapping, but not yet written back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dirty {
    /// It is written back.
    Kept,
    /// Nobody needs it any more.
    Discarded,
}

/// Unmaps the pages of a file from byte `start` to byte `last`, and removes them from its mapping.
///
/// It does not wait. `dax_break_layout()` with a callback, and `dax_break_layout_final()`, wait
/// until nobody has a page mapped: another file that shares it may have it mapped for ever.
///
/// # Errors
///
/// - `ERESTARTSYS` if somebody uses a page through others than a mapping.
///
/// # Safety
///
/// `inode` must be valid, and no page fault of it may be under way or begin.
pub(super) unsafe fn break_layout(
    inode: *mut bindings::inode,
    start: bindings::loff_t,
    last: bindings::loff_t,
    shared_pages: &SharedPages,
) -> Result {
    // SAFETY: By the safety requirements.
    let remove = || to_result(unsafe { bindings::dax_break_layout(inode, start, last, None) });

    // SAFETY: By the safety requirements. Only page faults add pages.
    match unsafe { (*(*inode).i_mapping).nrpages } {
        0 => remove(),
        _ => shared_pages.with_lock(remove),
    }
}

impl<T: FileSystem> Inode<T> {
    /// Unmaps a range, and invalidates its pages, so that it can get another place.
    ///
    /// This waits for those who use a page through others than the mapping, as direct I/O does.
    /// Page faults may go on then, so it comes before looking where the range lies.
    ///
    /// # Errors
    ///
    /// - `ERESTARTSYS` if there is a signal while somebody uses a page.
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

    /// Unmaps a range if nobody uses a page of it.
    ///
    /// # Errors
    ///
    /// - Those of writing back.
    pub(super) fn try_unmap(
        &self,
        range: ByteRange<space::File>,
        dirty: Dirty,
        invalidate_lock: &InvalidateLock<'_>,
    ) -> Result<bool> {
        let (start, last) = raw(range);

        if dirty == Dirty::Kept {
            if !self.invalidate_failed(invalidate_lock) {
                return Ok(false);
            }
            // Whatever is written back is also write-protected, and nobody can change that in a
            // mapping that is locked.
            //
            // SAFETY: The mapping of a valid inode is valid.
            to_result(unsafe {
                bindings::filemap_write_and_wait_range(self.mapping(), start, last)
            })?;
        }

        let shared_pages = self.super_block().shared_pages();

        // SAFETY: The inode is valid, and `invalidate_lock` is that of its mapping.
        match unsafe { break_layout(self.as_raw(), start, last, shared_pages) } {
            Ok(()) => Ok(true),
            Err(ERESTARTSYS) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether pages of the file have failed that the kernel may have entries for.
    pub(super) fn has_failed_pages(&self) -> bool {
        self.super_block()
            .failed_pages()
            .of_inode(self.number())
            .is_some()
    }

    /// Invalidates the pages of the file that have failed. Returns false if somebody uses them.
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

    /// Unmaps and invalidates those of `pages` that are bad. The kernel would write them back, an
    /// access to memory that is not there any more after a machine check. Returns false if somebody
    /// uses them.
    ///
    /// Of pages that have failed, some may lie elsewhere by now, and have been stored to there.
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
            // The filesystem is at its end, and does not say.
            Err(_) => self.invalidate_pages(pages, invalidate_lock),
        }
    }

    /// Unmaps and invalidates pages that are bad, see [`invalidate_bad()`](Self::invalidate_bad).
    fn invalidate_pages(
        &self,
        pages: PageRange<space::File>,
        invalidate_lock: &InvalidateLock<'_>,
    ) -> bool {
        let (Some(range), Some(huge)) = (pages.bytes(), huge_pages_of(pages)) else {
            return true;
        };

        if !self.may_be_huge(range, huge) {
            return self.try_unmap(range, Dirty::Discarded, invalidate_lock) == Ok(true);
        }

        // The entry of a huge page goes as a whole, and with it what is known to be written back of
        // the pages that are good.
        self.write_back_good(huge);
        let is_done = self.try_unmap(huge, Dirty::Discarded, invalidate_lock) == Ok(true);
        self.write_back_good(huge);
        is_done
    }

    /// Whether there may be an entry for a huge page that `range` is a part of. `huge` is where all
    /// of them lie.
    fn may_be_huge(&self, range: ByteRange<space::File>, huge: ByteRange<space::File>) -> bool {
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

        // The page must lie in the huge one as its memory does.
        frames.is_none_or(|frames| frames.start() % HUGE == range.pages().start() % HUGE)
    }

    fn write_back_good(&self, range: ByteRange<space::File>) {
        let volume = self.super_block().volume();

        // What cannot be written back is not good.
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

/// The bytes of all huge pages that `pages` are a part of.
fn huge_pages_of(pages: PageRange<space::File>) -> Option<ByteRange<space::File>> {
    let first = pages.start() / HUGE * HUGE;
    let end = pages.end().checked_next_multiple_of(HUGE)?;

    PageRange::between(first, end)?.bytes()
}

/// First and last byte of a range, as C takes them. What no file can have is left out.
fn raw(range: ByteRange<space::File>) -> (bindings::loff_t, bindings::loff_t) {
    let cap = |at: u64| bindings::loff_t::try_from(at).unwrap_or(bindings::loff_t::MAX);

    // The greatest `loff_t` stands for the end of the file.
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
