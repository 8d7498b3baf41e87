// SPDX-License-Identifier: GPL-2.0

//! Bios: the reads, writes and flushes that are submitted to a disk.
//!
//! C header: [`include/linux/bio.h`](srctree/include/linux/bio.h)

use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};

use kernel::prelude::*;

use crate::{
    bindings,
    compat::{
        bvec_offset,
        rewind_bvec, //
    },
    range::{
        space,
        ByteRange,
        SECTOR_SHIFT, //
    },
};

/// A bio that the driver must complete.
///
/// Call [`end()`](Self::end) with the result. A bio that is dropped ends with `EIO`.
///
/// # Invariants
///
/// `self.0` points to a valid bio that was submitted to a disk of this driver. Only `self`
/// completes it.
#[must_use = "a bio that is dropped ends with EIO"]
pub struct Bio(NonNull<bindings::bio>);

// SAFETY: `bio_endio()` may be called on any thread.
unsafe impl Send for Bio {}

impl Bio {
    /// Takes over a bio.
    ///
    /// # Safety
    ///
    /// `bio` must be a valid bio that was submitted to a disk, and the caller must leave its
    /// completion to the new `Bio`.
    pub(crate) const unsafe fn from_raw(bio: NonNull<bindings::bio>) -> Self {
        // INVARIANT: By the safety requirements, `bio` is valid, was submitted to a disk, and is
        // not completed by the caller.
        Self(bio)
    }

    /// Returns the bio, which the caller must complete.
    pub(crate) fn into_raw(self) -> NonNull<bindings::bio> {
        ManuallyDrop::new(self).0
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::bio {
        self.0.as_ptr()
    }

    fn opf(&self) -> bindings::blk_opf_t {
        // SAFETY: `self.0` points to a valid bio by the type invariants. Its flags do not change
        // after the submission.
        unsafe { (*self.0.as_ptr()).bi_opf }
    }

    fn iter(&self) -> bindings::bvec_iter {
        // SAFETY: `self.0` points to a valid bio by the type invariants. Only the owner of a bio
        // advances its iterator, and `self` does not.
        unsafe { (*self.0.as_ptr()).bi_iter }
    }

    /// Whether earlier writes must be durable before this bio starts.
    #[inline]
    pub fn is_preflush(&self) -> bool {
        self.opf() & bindings::REQ_PREFLUSH != 0
    }

    /// Whether the data of this bio must be durable when the bio ends.
    #[inline]
    pub fn is_fua(&self) -> bool {
        self.opf() & bindings::REQ_FUA != 0
    }

    /// The memory of the bio and the direction of the transfer, or [`None`] if the bio is a flush
    /// without data.
    ///
    /// # Errors
    ///
    /// - `EOPNOTSUPP` if the bio is neither a read nor a write.
    /// - `EIO` if the bio ends beyond the last byte of a [`ByteRange`].
    ///
    /// # Examples
    ///
    /// ```
    /// use daxmf::{
    ///     block::{bio::Transfer, Bio},
    ///     pagemap::{Operations, PageMap},
    /// };
    ///
    /// /// Transfers the data of a bio. The disk and the memory start at the same byte.
    /// fn transfer<T: Operations>(memory: &PageMap<T>, bio: &Bio) -> Result {
    ///     match bio.transfer()? {
    ///         Some(Transfer::Read(mut to)) => {
    ///             to.try_for_each(|segment| memory.read(&segment, |_| ()))
    ///         }
    ///         Some(Transfer::Write(mut from)) => {
    ///             from.try_for_each(|segment| memory.write(&segment))
    ///         }
    ///         None => Ok(()),
    ///     }
    /// }
    /// ```
    #[inline]
    pub fn transfer(&self) -> Result<Option<Transfer<'_>>> {
        let iter = self.iter();

        if iter.bi_size == 0 {
            return Ok(None);
        }

        let start = iter.bi_sector.checked_mul(1 << SECTOR_SHIFT).ok_or(EIO)?;
        let all = ByteRange::new(start, iter.bi_size.into()).ok_or(EIO)?;

        // INVARIANT: `D` follows from the operation. `bi_io_vec` of a read or a write has memory
        // for each of its `bi_size` bytes, which are the range `all` of the disk.
        match self.opf() & bindings::REQ_OP_MASK {
            bindings::req_op_REQ_OP_READ => Ok(Some(Transfer::Read(self.segments(iter, all)))),
            bindings::req_op_REQ_OP_WRITE => Ok(Some(Transfer::Write(self.segments(iter, all)))),
            _ => Err(EOPNOTSUPP),
        }
    }

    #[inline]
    fn segments<D>(
        &self,
        iter: bindings::bvec_iter,
        all: ByteRange<space::Device>,
    ) -> Segments<'_, D> {
        Segments {
            // SAFETY: `self.0` points to a valid bio by the type invariants.
            vecs: unsafe { (*self.0.as_ptr()).bi_io_vec },
            iter,
            start: all.start(),
            _bio: PhantomData,
        }
    }

    /// Counts the bio in the disk's I/O statistics, from now until the guard is dropped.
    ///
    /// Returns [`None`] if the statistics of the disk are disabled.
    pub fn account(&self) -> Option<Accounting<'_>> {
        // SAFETY: `self.0` points to a valid bio by the type invariants. Its disk and queue exist
        // until the bio ends. The features can change at any time, so the read is volatile.
        let features = unsafe {
            let queue = (*(*self.0.as_ptr()).bi_bdev).bd_queue;

            (&raw const (*queue).limits.features).read_volatile()
        };

        if features & bindings::BLK_FEAT_IO_STAT == 0 {
            return None;
        }

        Some(Accounting {
            bio: self,
            // SAFETY: `self.0` points to a valid bio by the type invariants.
            start: unsafe { bindings::bio_start_io_acct(self.as_raw()) },
        })
    }

    /// Completes the bio.
    pub fn end(self, result: Result) {
        let bio = self.into_raw().as_ptr();

        if let Err(error) = result {
            // SAFETY: By the type invariants, `bio` is valid, and only this function completes it.
            unsafe { (*bio).bi_status = bindings::errno_to_blk_status(error.to_errno()) };
        }

        // SAFETY: By the type invariants, `bio` is valid and not completed yet. It is not used
        // afterwards.
        unsafe { bindings::bio_endio(bio) };
    }
}

impl Drop for Bio {
    fn drop(&mut self) {
        // INVARIANT: `self` has not completed the bio, and does not use it again.
        Self(self.0).end(Err(EIO));
    }
}

/// Measures the time of a bio. The drop adds the time to the disk's I/O statistics.
pub struct Accounting<'a> {
    bio: &'a Bio,
    start: c_ulong,
}

impl Drop for Accounting<'_> {
    fn drop(&mut self) {
        let bio = self.bio.as_raw();

        // SAFETY: `bio` is valid by the type invariants of `Bio`, and its block device exists until
        // the bio ends.
        unsafe { bindings::bio_end_io_acct_remapped(bio, self.start, (*bio).bi_bdev) };
    }
}

/// The direction of a bio's transfer, and the memory.
pub enum Transfer<'a> {
    /// The driver copies data from the disk to these segments.
    Read(Segments<'a, Destination>),
    /// The driver copies data from these segments to the disk.
    Write(Segments<'a, Source>),
}

/// Marks a [`Segment`] that can only be written.
pub enum Destination {}

/// Marks a [`Segment`] that can only be read: its memory can belong to a file that was opened
/// read-only.
pub enum Source {}

/// An iterator over the memory of a bio, in the order of the disk's bytes; see [`Bio::transfer()`].
///
/// # Invariants
///
/// - `vecs` has all entries that `iter` has not visited yet.
/// - The bytes that `iter` has not visited yet form a [`ByteRange`] from `start` on.
/// - `D` is [`Destination`] if the bio is a read, and [`Source`] if it is a write.
pub struct Segments<'a, D> {
    vecs: *const bindings::bio_vec,
    iter: bindings::bvec_iter,
    start: u64,
    _bio: PhantomData<(&'a Bio, D)>,
}

impl<'a, D> Iterator for Segments<'a, D> {
    type Item = Segment<'a, D>;

    // Each entry is one segment, as in `bio_for_each_bvec()`: the pages of an entry are contiguous
    // in the kernel's linear map.
    #[inline]
    fn next(&mut self) -> Option<Segment<'a, D>> {
        loop {
            let bindings::bvec_iter {
                bi_size, bi_idx, ..
            } = self.iter;
            let offset = bvec_offset(&self.iter);

            if bi_size == 0 {
                return None;
            }

            // SAFETY: Bytes remain, so `vecs` has an entry at `bi_idx` by the type invariants.
            let vec = unsafe { &*self.vecs.add(bi_idx as usize) };
            let len = vec.bv_len.saturating_sub(offset).min(bi_size);
            let start = self.start;

            // INVARIANT: The bytes after this entry, if any, start in the next entry, and their
            // range of the disk starts `len` bytes later.
            self.iter.bi_size = bi_size.saturating_sub(len);
            self.iter.bi_idx = bi_idx.wrapping_add(1);
            rewind_bvec(&mut self.iter);
            self.start = start.saturating_add(u64::from(len));

            // An entry can be empty.
            if len == 0 {
                continue;
            }

            // SAFETY: `bv_page` is a valid page until the bio ends. Without HIGHMEM, it is always
            // mapped, and `kunmap_local()` is not needed.
            let page = unsafe { bindings::kmap_local_page(vec.bv_page) };

            // INVARIANT: `ptr` points to `len` bytes of the memory of `vec`, which are valid for
            // reads or writes as `D` says by the type invariants.
            return Some(Segment {
                ptr: page
                    .cast::<u8>()
                    .wrapping_add(vec.bv_offset as usize)
                    .wrapping_add(offset as usize),
                // Never `None`: the bytes form a range by the type invariants.
                range: ByteRange::new(start, u64::from(len))?,
                _bio: PhantomData,
            });
        }
    }
}

/// A part of a bio: a piece of memory, and the range of the disk that it is copied from or to.
///
/// `D` is [`Source`] or [`Destination`]. The memory can change at any time, because processes can
/// map it.
///
/// # Invariants
///
/// `ptr` is valid for reads of `range.len()` bytes if `D` is [`Source`], for writes if it is
/// [`Destination`].
pub struct Segment<'a, D> {
    ptr: *mut u8,
    range: ByteRange<space::Device>,
    _bio: PhantomData<(&'a Bio, D)>,
}

impl<D> Segment<'_, D> {
    /// The range of the whole disk that the segment is copied from or to.
    #[inline]
    pub fn range(&self) -> ByteRange<space::Device> {
        self.range
    }
}

impl Segment<'_, Source> {
    #[inline]
    pub(crate) fn as_ptr(&self) -> *const c_void {
        self.ptr.cast_const().cast()
    }
}

impl Segment<'_, Destination> {
    #[inline]
    pub(crate) fn as_mut_ptr(&self) -> *mut c_void {
        self.ptr.cast()
    }
}

#[kunit_tests(daxmf_block_bio)]
mod tests {
    use kernel::page::Page;

    use super::*;

    /// A write at `sector`, with an entry for each of the lengths `lens`, in bytes.
    fn write(
        page: &Page,
        lens: &[u32; 4],
        vecs: &mut [bindings::bio_vec; 4],
        sector: u64,
    ) -> bindings::bio {
        for (vec, len) in vecs.iter_mut().zip(lens) {
            *vec = bindings::bio_vec {
                bv_page: page.as_ptr(),
                bv_len: *len,
                bv_offset: 0,
            };
        }

        bindings::bio {
            bi_opf: bindings::req_op_REQ_OP_WRITE,
            bi_io_vec: vecs.as_mut_ptr(),
            bi_iter: bindings::bvec_iter {
                bi_sector: sector,
                bi_size: lens.iter().sum(),
                ..pin_init::zeroed()
            },
            ..pin_init::zeroed()
        }
    }

    /// Calls `f` with the segments of a write.
    fn with_segments(
        bio: &mut bindings::bio,
        f: impl FnOnce(Segments<'_, Source>) -> Result,
    ) -> Result {
        // SAFETY: `bio` is a valid bio on the stack. Neither the caller nor the `ManuallyDrop`
        // completes it.
        let bio = ManuallyDrop::new(unsafe { Bio::from_raw(NonNull::from(bio)) });

        match bio.transfer()? {
            Some(Transfer::Write(segments)) => f(segments),
            _ => Err(EINVAL),
        }
    }

    #[test]
    fn empty_entries_are_skipped() -> Result {
        let page = Page::alloc_page(GFP_KERNEL)?;
        let mut vecs = [pin_init::zeroed(); 4];
        let mut bio = write(&page, &[0, 512, 0, 1024], &mut vecs, 8);

        with_segments(&mut bio, |segments| {
            let mut moved = 0;

            for segment in segments {
                assert_eq!(segment.range().start(), 8 * 512 + moved);
                moved += segment.range().len();
            }
            assert_eq!(moved, 1536);
            Ok(())
        })
    }

    #[test]
    fn entries_can_be_smaller_than_a_sector() -> Result {
        let page = Page::alloc_page(GFP_KERNEL)?;
        let mut vecs = [pin_init::zeroed(); 4];
        let mut bio = write(&page, &[100, 412, 500, 12], &mut vecs, 1);

        with_segments(&mut bio, |segments| {
            let mut starts = segments.map(|segment| segment.range().start());

            assert_eq!(starts.next(), Some(512));
            assert_eq!(starts.next(), Some(612));
            assert_eq!(starts.next(), Some(1024));
            assert_eq!(starts.next(), Some(1524));
            assert_eq!(starts.next(), None);
            Ok(())
        })
    }

    #[test]
    fn range_beyond_the_last_byte_fails() -> Result {
        let page = Page::alloc_page(GFP_KERNEL)?;
        let mut vecs = [pin_init::zeroed(); 4];
        let last = u64::MAX >> SECTOR_SHIFT;

        for sector in [last, last + 1] {
            let mut bio = write(&page, &[512, 512, 0, 0], &mut vecs, sector);

            assert_eq!(with_segments(&mut bio, |_| Ok(())), Err(EIO));
        }
        Ok(())
    }
}
