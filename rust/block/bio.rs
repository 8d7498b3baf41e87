// SPDX-License-Identifier: GPL-2.0

//! Bios: reads and writes on their way to a disk.
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
    range::{
        ByteRange,
        SECTOR_SHIFT, //
    },
};

/// A bio that the driver must complete.
///
/// Call [`end()`](Self::end) with its result. A bio that is dropped ends with `EIO`.
///
/// # Invariants
///
/// `self.0` points to a valid bio that was submitted to a disk of ours, and that nobody else
/// completes.
#[must_use = "a bio that is dropped ends with EIO"]
pub struct Bio(NonNull<bindings::bio>);

// SAFETY: A bio may be completed on any thread.
unsafe impl Send for Bio {}

impl Bio {
    /// Takes over a bio.
    ///
    /// # Safety
    ///
    /// `bio` must be a valid bio that was submitted to a disk, and the caller must leave its
    /// completion to the new `Bio`.
    pub(crate) const unsafe fn from_raw(bio: NonNull<bindings::bio>) -> Self {
        // INVARIANT: By the safety requirements.
        Self(bio)
    }

    /// Leaves the completion to the caller.
    pub(crate) fn into_raw(self) -> NonNull<bindings::bio> {
        ManuallyDrop::new(self).0
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::bio {
        self.0.as_ptr()
    }

    fn opf(&self) -> bindings::blk_opf_t {
        // SAFETY: `self.0` is valid by the type invariants, and the flags do not change any more.
        unsafe { (*self.0.as_ptr()).bi_opf }
    }

    fn iter(&self) -> bindings::bvec_iter {
        // SAFETY: `self.0` is valid by the type invariants, and only we advance the iterator.
        unsafe { (*self.0.as_ptr()).bi_iter }
    }

    /// Whether data goes to the disk. Operations that do have odd numbers.
    #[inline]
    pub fn is_write(&self) -> bool {
        self.opf() & 1 != 0
    }

    /// Whether what was written before must be durable before this bio starts.
    #[inline]
    pub fn is_preflush(&self) -> bool {
        self.opf() & bindings::REQ_PREFLUSH != 0
    }

    /// Whether what this bio writes must be durable when it ends.
    #[inline]
    pub fn is_fua(&self) -> bool {
        self.opf() & bindings::REQ_FUA != 0
    }

    /// Whether the bio has data, so that it is not a mere flush.
    #[inline]
    pub fn has_data(&self) -> bool {
        self.iter().bi_size != 0
    }

    /// The memory that the bio reads to or writes from, in the order of the disk's bytes.
    #[inline]
    pub fn segments(&self) -> Segments<'_> {
        Segments {
            // SAFETY: `self.0` is valid by the type invariants.
            vecs: unsafe { (*self.0.as_ptr()).bi_io_vec },
            iter: self.iter(),
            _bio: PhantomData,
        }
    }

    /// Counts the bio in the disk's I/O statistics, from now until the guard is dropped.
    ///
    /// Returns [`None`] where the disk keeps none.
    pub fn account(&self) -> Option<Accounting<'_>> {
        // SAFETY: `self.0` is valid by the type invariants. Its disk and queue stay while a bio is
        // under way.
        let features = unsafe {
            let queue = (*(*self.0.as_ptr()).bi_bdev).bd_queue;

            (*queue).limits.features
        };

        if features & bindings::BLK_FEAT_IO_STAT == 0 {
            return None;
        }

        Some(Accounting {
            bio: self,
            // SAFETY: `self.0` is valid by the type invariants.
            start: unsafe { bindings::bio_start_io_acct(self.as_raw()) },
        })
    }

    /// Completes the bio.
    pub fn end(self, result: Result) {
        let bio = self.into_raw().as_ptr();

        if let Err(error) = result {
            // SAFETY: `bio` is valid by the type invariants, and ours to complete.
            unsafe { (*bio).bi_status = bindings::errno_to_blk_status(error.to_errno()) };
        }

        // SAFETY: As above; it is not used afterwards.
        unsafe { bindings::bio_endio(bio) };
    }
}

impl Drop for Bio {
    fn drop(&mut self) {
        // INVARIANT: The bio is still ours to complete, and `self` does not touch it again.
        Self(self.0).end(Err(EIO));
    }
}

/// The time that a bio takes, counted when dropped.
pub struct Accounting<'a> {
    bio: &'a Bio,
    start: c_ulong,
}

impl Drop for Accounting<'_> {
    fn drop(&mut self) {
        let bio = self.bio.as_raw();

        // SAFETY: `bio` is valid by the type invariants of `Bio`, and so is its device.
        unsafe { bindings::bio_end_io_acct_remapped(bio, self.start, (*bio).bi_bdev) };
    }
}

/// An iterator over the memory of a bio, see [`Bio::segments()`].
///
/// # Invariants
///
/// `vecs` holds all entries that `iter` still has to visit.
pub struct Segments<'a> {
    vecs: *const bindings::bio_vec,
    iter: bindings::bvec_iter,
    _bio: PhantomData<&'a Bio>,
}

impl<'a> Iterator for Segments<'a> {
    type Item = Segment<'a>;

    // As `bio_for_each_bvec()`: the pages of an entry lie behind each other in the kernel's linear
    // map, so there is no need to take them one by one.
    #[inline]
    fn next(&mut self) -> Option<Segment<'a>> {
        let bindings::bvec_iter {
            bi_sector,
            bi_size,
            bi_idx,
            bi_offset,
        } = self.iter;

        if bi_size == 0 {
            return None;
        }

        // SAFETY: Bytes remain, so there is an entry at `bi_idx` by the type invariants.
        let vec = unsafe { &*self.vecs.add(bi_idx as usize) };
        let len = vec.bv_len.saturating_sub(bi_offset).min(bi_size);

        // SAFETY: The page of an entry is valid. Without HIGHMEM it is mapped for good, and there
        // is nothing to unmap.
        let page = unsafe { bindings::kmap_local_page(vec.bv_page) };

        // INVARIANT: If bytes remain behind this entry, they are in the next one.
        self.iter = bindings::bvec_iter {
            bi_sector: bi_sector.wrapping_add(u64::from(len >> SECTOR_SHIFT)),
            bi_size: bi_size.saturating_sub(len),
            bi_idx: bi_idx.wrapping_add(1),
            bi_offset: 0,
        };

        // INVARIANT: The memory is that of `vec`.
        Some(Segment {
            ptr: page
                .cast::<u8>()
                .wrapping_add(vec.bv_offset as usize)
                .wrapping_add(bi_offset as usize),
            range: ByteRange::new(bi_sector.wrapping_shl(SECTOR_SHIFT), u64::from(len))?,
            _bio: PhantomData,
        })
    }
}

/// A piece of a bio: memory, and the bytes of the disk that it is for.
///
/// The memory may change at any time: a process may have it mapped.
///
/// # Invariants
///
/// `ptr` is valid for reads and writes of `range.len()` bytes, as far as the direction of the bio
/// allows.
pub struct Segment<'a> {
    ptr: *mut u8,
    range: ByteRange,
    _bio: PhantomData<&'a Bio>,
}

impl Segment<'_> {
    /// The bytes of the whole disk that the segment is for.
    #[inline]
    pub fn range(&self) -> ByteRange {
        self.range
    }

    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut c_void {
        self.ptr.cast()
    }
}
