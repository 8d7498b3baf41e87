// SPDX-License-Identifier: GPL-2.0

//! Memory of a device that the kernel has an address for, and how it is read and written.
//!
//! A [`PageMap`](crate::pagemap::PageMap) gives such memory page frames. A [`Remapped`] has none:
//! it serves block I/O only.
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

/// All memory of a DAX device or a disk, which has an address.
///
/// # Invariants
///
/// `addr` is the address of `len` bytes, which stay mapped as long as `self` exists, and are
/// accessed as raw bytes only.
pub struct Mapped {
    addr: *mut u8,
    len: u64,
}

// SAFETY: The memory stays mapped wherever it is used.
unsafe impl Send for Mapped {}

// SAFETY: The memory may be accessed by all processors at once, as raw bytes.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// # Safety
    ///
    /// The type invariants must hold.
    pub(crate) unsafe fn new(addr: *mut u8, len: u64) -> Self {
        // INVARIANT: By the safety requirements.
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
    /// - `ERANGE` if a part of it lies outside the memory.
    #[inline]
    fn address(&self, range: ByteRange<space::Device>) -> Result<*mut u8> {
        if range.end() > self.len {
            return Err(ERANGE);
        }

        // CAST: A `u64` is a `usize` here.
        Ok(self.addr.wrapping_add(range.start() as usize))
    }

    /// Reads the memory that a piece of a bio is for into it. Bad memory is survived.
    ///
    /// If a byte is bad, `failed` is called with the page that it lies in, in bytes. The kernel
    /// does not report this as a memory failure.
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

        // SAFETY: `address()` has checked the range, and a segment is valid for its length. Both
        // are raw memory that others may change at any time.
        let left = unsafe { bindings::copy_mc_to_kernel(to.as_mut_ptr(), from.cast(), len) };

        if left == 0 {
            return Ok(());
        }
        if let Some(page) = page_of_end(range, left) {
            failed(page);
        }
        Err(EIO)
    }

    /// Writes a piece of a bio to the memory that it is for, past the CPU caches.
    ///
    /// # Errors
    ///
    /// - `ERANGE` if a part of the range lies outside the memory.
    #[inline]
    pub fn write(&self, from: &Segment<'_, Source>) -> Result {
        let range = from.range();
        let to = self.address(range)?;

        // SAFETY: `address()` has checked the range, and a segment is valid for its length. Both
        // are raw memory that others may change at any time.
        unsafe {
            bindings::memcpy_flushcache(to.cast(), from.as_ptr(), range.len() as usize);
        }
        Ok(())
    }

    /// Writes bytes of the kernel's to `range`, past the CPU caches.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if there are not as many bytes as the range has.
    /// - `ERANGE` if a part of the range lies outside the memory.
    pub fn write_bytes(&self, range: ByteRange<space::Device>, from: &[u8]) -> Result {
        let to = self.address(range)?;

        // CAST: A `usize` is a `u64` here.
        if from.len() as u64 != range.len() {
            return Err(EINVAL);
        }

        // SAFETY: `address()` has checked the range, and `from` has as many bytes.
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
            // SAFETY: `address()` has checked the range, of which a page is left.
            unsafe {
                bindings::memcpy_flushcache(to.cast(), ZEROES.as_ptr().cast(), ZEROES.len());
            }
            to = to.wrapping_add(ZEROES.len());
        }
        Ok(())
    }

    /// Fills `range` from an iterator, past the CPU caches.
    ///
    /// Returns the number of bytes written, which is less than asked for if the source faults.
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

        // SAFETY: `address()` has checked the range. The iterator is valid.
        Ok(unsafe {
            bindings::_copy_from_iter_flushcache(to.cast(), range.len() as usize, from.as_raw())
        })
    }

    /// Throws away what the CPU caches hold of `range`.
    ///
    /// # Errors
    ///
    /// - `ERANGE` if a part of it lies outside the memory.
    pub fn invalidate(&self, range: ByteRange<space::Device>) -> Result {
        let addr = self.address(range)?;

        // SAFETY: `address()` has checked the range.
        unsafe { bindings::arch_invalidate_pmem(addr.cast(), range.len() as usize) };
        Ok(())
    }
}

/// The page that a read of `range` ended in, with `left` bytes left. These begin in the cache line
/// of the bad byte.
#[cold]
fn page_of_end(range: ByteRange<space::Device>, left: usize) -> Option<ByteRange<space::Device>> {
    // CAST: A `usize` is a `u64` here.
    let bad = ByteRange::<space::Device>::new(range.end().saturating_sub(left as u64), 1)?;

    bad.pages().bytes()
}

/// Memory without page frames. It cannot be mapped by a filesystem, and has no memory failures.
///
/// C: `memremap()`
///
/// # Invariants
///
/// `memremap()` has mapped the memory at `addr`.
// The fields are dropped in this order; the memory is unmapped before.
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
    /// - `ENOMEM` if memory is short, or if the memory is mapped in another way.
    pub fn new(claim: Claim) -> Result<Self> {
        let range = claim.data().outer();

        // SAFETY: The memory is ours by the claim.
        // CAST: A `u64` is a `usize`, and the flag an `unsigned long`, here.
        let addr = unsafe {
            bindings::memremap(
                range.start(),
                range.len() as usize,
                bindings::MEMREMAP_WB as c_ulong,
            )
        };
        let addr = NonNull::new(addr).ok_or(ENOMEM)?;

        // INVARIANT: `memremap()` has just mapped it.
        Ok(Self {
            addr,
            // SAFETY: It stays mapped until `self` is dropped.
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
        // SAFETY: By the type invariants; nobody uses the memory any more.
        unsafe { bindings::memunmap(self.addr.as_ptr()) };
    }
}
