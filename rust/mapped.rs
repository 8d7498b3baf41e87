// SPDX-License-Identifier: GPL-2.0

//! Reads and writes of device memory that is mapped in the kernel.
//!
//! A [`PageMap`](crate::pagemap::PageMap) maps memory with page frames. A [`Remapped`] maps it
//! without them, for block I/O only.
//!
//! Reference: [`kernel/iomem.c`](srctree/kernel/iomem.c)

use core::{
    ops::Deref,
    ptr::NonNull, //
};

use kernel::{
    iov::IovIterSource,
    prelude::*, //
};

use crate::{
    bindings,
    block::bio::{
        Destination,
        Segment,
        Source, //
    },
    pagemap::Claim,
    range::{
        space,
        ByteRange,
        PageRange,
        PAGE_SIZE, //
    },
};

/// All memory of a DAX device or a disk, mapped in the kernel.
///
/// After a machine check in a page frame of a [`PageMap`](crate::pagemap::PageMap), the kernel
/// removes the frame from its linear map. A write to the frame then crashes the kernel, unless the
/// driver has called [`PageMap::make_present()`](crate::pagemap::PageMap::make_present) for it
/// before.
///
/// # Invariants
///
/// `addr` is the address of `len` bytes. They stay mapped as long as `self` exists, except for
/// frames that the machine check handler has removed from the linear map: an access to such a frame
/// ends in an oops. All code accesses the bytes as raw bytes only.
pub struct Mapped {
    addr: *mut u8,
    len: u64,
}

// SAFETY: The kernel's mapping of the memory is the same on all threads.
unsafe impl Send for Mapped {}

// SAFETY: All accesses go through C functions that copy raw bytes, which may run at the same time
// on any processors.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Creates a value from its parts.
    ///
    /// # Safety
    ///
    /// The type invariants must hold for the arguments.
    pub(crate) unsafe fn new(addr: *mut u8, len: u64) -> Self {
        // INVARIANT: All of them hold by the safety requirements.
        Self { addr, len }
    }

    /// The address of the first byte.
    #[inline]
    pub(crate) fn start(&self) -> *mut u8 {
        self.addr
    }

    /// The address of `range`.
    ///
    /// # Errors
    ///
    /// - `ERANGE` if a part of the range lies outside the memory.
    #[inline]
    fn address(&self, range: ByteRange<space::Device>) -> Result<*mut u8> {
        if range.end() > self.len {
            return Err(ERANGE);
        }

        // CAST: A `u64` is a `usize` here.
        Ok(self.addr.wrapping_add(range.start() as usize))
    }

    /// Reads the memory of a bio's segment into the segment. A machine check during the read makes
    /// the read fail.
    ///
    /// If a byte is bad, this function calls `failed` with the byte range of the page. The kernel
    /// does not call `memory_failure()` for such a machine check.
    ///
    /// # Errors
    ///
    /// - `EIO` if a byte is bad.
    /// - `ERANGE` if a part of the range lies outside the memory.
    #[inline]
    pub fn read(
        &self,
        to: &Segment<'_, Destination>,
        failed: impl FnOnce(ByteRange<space::Device>),
    ) -> Result {
        let range = to.range();
        let from = self.address(range)?;
        // The length of a segment is an `unsigned int` in C.
        let len = u32::try_from(range.len()).map_err(|_| ERANGE)?;

        // SAFETY: `address()` has checked that the range is mapped, and a segment is valid for
        // writes of its length. Both are raw memory that other code may change at any time.
        let left = unsafe { bindings::copy_mc_to_kernel(to.as_mut_ptr(), from.cast(), len) };

        if left == 0 {
            return Ok(());
        }
        if let Some(page) = bad_page(range, left) {
            failed(page);
        }
        Err(EIO)
    }

    /// Writes a bio's segment to the memory of the segment, past the CPU caches.
    ///
    /// # Errors
    ///
    /// - `ERANGE` if a part of the range lies outside the memory.
    #[inline]
    pub fn write(&self, from: &Segment<'_, Source>) -> Result {
        let range = from.range();
        let to = self.address(range)?;

        // SAFETY: `address()` has checked that the range is mapped, and a segment is valid for
        // reads of its length. Both are raw memory that other code may change at any time.
        unsafe {
            bindings::memcpy_flushcache(to.cast(), from.as_ptr(), range.len() as usize);
        }
        Ok(())
    }

    /// Writes `from` to `range`, past the CPU caches.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if `from` and `range` differ in length.
    /// - `ERANGE` if a part of the range lies outside the memory.
    pub fn write_bytes(&self, range: ByteRange<space::Device>, from: &[u8]) -> Result {
        let to = self.address(range)?;

        // CAST: A `usize` is a `u64` here.
        if from.len() as u64 != range.len() {
            return Err(EINVAL);
        }

        // SAFETY: `address()` has checked that the range is mapped, and `from` has its length.
        unsafe { bindings::memcpy_flushcache(to.cast(), from.as_ptr().cast(), from.len()) };
        Ok(())
    }

    /// Writes zeroes to whole pages, past the CPU caches.
    ///
    /// # Errors
    ///
    /// - `ERANGE` if a page lies outside the memory.
    pub fn write_zeroes(&self, pages: PageRange<space::Device>) -> Result {
        static ZEROES: [u8; PAGE_SIZE as usize] = [0; PAGE_SIZE as usize];

        let mut to = self.address(pages.bytes().ok_or(ERANGE)?)?;

        for _ in 0..pages.len() {
            // SAFETY: `address()` has checked that all pages are mapped, and `to` is one of them.
            unsafe {
                bindings::memcpy_flushcache(to.cast(), ZEROES.as_ptr().cast(), ZEROES.len());
            }
            to = to.wrapping_add(ZEROES.len());
        }
        Ok(())
    }

    /// Fills `range` from an iterator, past the CPU caches.
    ///
    /// Returns the number of bytes written, which is less than the length of `range` if the source
    /// faults.
    ///
    /// # Errors
    ///
    /// - `ERANGE` if a part of the range lies outside the memory.
    pub fn write_from_iter(
        &self,
        range: ByteRange<space::Device>,
        from: &mut IovIterSource<'_>,
    ) -> Result<usize> {
        let to = self.address(range)?;

        // SAFETY: `address()` has checked that the range is mapped. `from` is a valid iterator.
        Ok(unsafe {
            bindings::_copy_from_iter_flushcache(to.cast(), range.len() as usize, from.as_raw())
        })
    }

    /// Invalidates the CPU caches for `range`, without writing them back.
    ///
    /// # Errors
    ///
    /// - `ERANGE` if a part of the range lies outside the memory.
    pub fn invalidate(&self, range: ByteRange<space::Device>) -> Result {
        let addr = self.address(range)?;

        // SAFETY: `address()` has checked that the range is mapped.
        unsafe { bindings::arch_invalidate_pmem(addr.cast(), range.len() as usize) };
        Ok(())
    }
}

/// Returns the page in which a read of `range` failed, `left` bytes before the end of the range.
/// The first of the `left` bytes lies in the cache line of the bad byte.
#[cold]
fn bad_page(range: ByteRange<space::Device>, left: usize) -> Option<ByteRange<space::Device>> {
    // CAST: A `usize` is a `u64` here.
    let bad = ByteRange::<space::Device>::new(range.end().saturating_sub(left as u64), 1)?;

    bad.pages().bytes()
}

/// Memory without page frames. A filesystem cannot map it, and `memory_failure()` does not handle
/// it.
///
/// C: `memremap()`
///
/// # Invariants
///
/// `memremap()` has mapped the memory at `addr`.
// The drop unmaps the memory first; only then does `_claim` release it.
pub struct Remapped {
    addr: NonNull<c_void>,
    mapped: Mapped,
    _claim: Claim,
}

// SAFETY: `memunmap()` may be called on any thread.
unsafe impl Send for Remapped {}

// SAFETY: A shared `Remapped` gives access to `mapped` only.
unsafe impl Sync for Remapped {}

impl Remapped {
    /// Maps the data of claimed memory.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short, or if the memory is already mapped with another cache mode.
    pub fn new(claim: Claim) -> Result<Self> {
        let range = claim.data().outer();

        // SAFETY: `claim` gives exclusive use of the memory to its owner.
        // CAST: `usize` and `unsigned long` have 64 bits here, so a `u64` fits both.
        let addr = unsafe {
            bindings::memremap(
                range.start(),
                range.len() as usize,
                bindings::MEMREMAP_WB as c_ulong,
            )
        };
        let addr = NonNull::new(addr).ok_or(ENOMEM)?;

        // INVARIANT: `memremap()` has just mapped the memory at `addr`.
        Ok(Self {
            addr,
            // SAFETY: `memremap()` has mapped `range.len()` bytes at `addr`, until `self` is
            // dropped.
            mapped: unsafe { Mapped::new(addr.as_ptr().cast(), range.len()) },
            _claim: claim,
        })
    }
}

impl Deref for Remapped {
    type Target = Mapped;

    #[inline]
    fn deref(&self) -> &Mapped {
        &self.mapped
    }
}

impl Drop for Remapped {
    fn drop(&mut self) {
        // SAFETY: `memremap()` has mapped `addr` by the type invariants. `&mut self` proves that
        // `mapped` is not borrowed.
        unsafe { bindings::memunmap(self.addr.as_ptr()) };
    }
}
