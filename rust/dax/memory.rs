// SPDX-License-Identifier: GPL-2.0

//! The memory of a DAX device.

use core::{
    mem::MaybeUninit,
    ptr::{
        self,
        NonNull, //
    },
};

use kernel::prelude::*;

use crate::{
    bindings,
    range::{
        space,
        ByteRange,
        PAGE_SIZE, //
    },
};

use super::{
    device::AccessMode,
    Device,
    ReadLock, //
};

/// Memory of a DAX device that lies in a row.
///
/// # Invariants
///
/// - `addr` is the address of `len` bytes of the memory of `device`, the first of which lies in
///   `page` of it.
/// - `dax_srcu` is held for reading for the duration of `'a`, so the memory stays mapped.
/// - `len` is not 0.
pub(crate) struct Memory<'a> {
    device: &'a Device,
    page: u64,
    addr: NonNull<u8>,
    len: usize,
}

impl<'a> Memory<'a> {
    /// # Safety
    ///
    /// The type invariants must hold.
    unsafe fn new(device: &'a Device, page: u64, addr: NonNull<u8>, len: usize) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            device,
            page,
            addr,
            len,
        }
    }

    fn as_ptr(&self) -> *mut u8 {
        self.addr.as_ptr()
    }

    /// The number of bytes, never 0.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Reads as many bytes as `to` has. Bad memory is survived.
    ///
    /// # Errors
    ///
    /// - `EIO` if a byte is bad.
    /// - `ERANGE` if there are not so many.
    pub(crate) fn read(&self, to: &mut [u8]) -> Result {
        if to.len() > self.len {
            return Err(ERANGE);
        }

        // SAFETY: The length was checked. What is read is raw memory that others may change at any
        // time.
        unsafe { copy_mc(to.as_mut_ptr(), self.as_ptr(), to.len()) }
    }

    /// Writes as many bytes as `from` has from byte `at` on, past the CPU caches.
    ///
    /// # Errors
    ///
    /// - `ERANGE` if there are not so many.
    pub(crate) fn write(&self, at: usize, from: &[u8]) -> Result {
        if self
            .len
            .checked_sub(at)
            .is_none_or(|room| from.len() > room)
        {
            return Err(ERANGE);
        }

        // SAFETY: `at` and the length were checked. What is written is raw memory that others may
        // access at any time.
        unsafe {
            let to = self.as_ptr().add(at);

            bindings::memcpy_flushcache(to.cast(), from.as_ptr().cast(), from.len());
        }
        Ok(())
    }

    /// Writes what `from` starts with over this memory, which may be bad, and mends it where the
    /// device can. Returns the number of bytes written.
    ///
    /// C: `dax_recovery_write()`
    pub(crate) fn recovery_write(&self, from: &[u8]) -> usize {
        let len = from.len().min(self.len);
        let part = bindings::kvec {
            iov_base: from.as_ptr().cast_mut().cast(),
            iov_len: len,
        };
        let mut iter = MaybeUninit::uninit();

        // SAFETY: `part` and what it points to outlive `iter`, which is only read from.
        unsafe {
            bindings::iov_iter_kvec(iter.as_mut_ptr(), bindings::ITER_SOURCE, &part, 1, len);
        }

        // SAFETY: By the type invariants, the memory is that of the device, and `dax_srcu` is held.
        // `iov_iter_kvec()` has initialized `iter`.
        unsafe {
            bindings::dax_recovery_write(
                self.device.as_raw(),
                self.page as c_ulong,
                self.as_ptr().cast(),
                len,
                iter.as_mut_ptr(),
            )
        }
    }

    /// Writes back what the CPU caches hold of the memory, unless they are durable.
    ///
    /// C: `dax_flush()`
    pub(crate) fn flush(&self) {
        // SAFETY: By the type invariants, the memory is that of the device, and is there.
        unsafe { bindings::dax_flush(self.device.as_raw(), self.as_ptr().cast(), self.len) };
    }

    /// Fills this memory with what `from` starts with, by way of the CPU caches.
    ///
    /// # Errors
    ///
    /// - `EIO` if a byte of `from` is bad.
    /// - `ERANGE` if it has not so many.
    pub(crate) fn fill_from(&self, from: &Memory<'_>) -> Result {
        if from.len < self.len {
            return Err(ERANGE);
        }

        // SAFETY: The length was checked. Both are raw memory that others may access at any time.
        unsafe { copy_mc(self.as_ptr(), from.as_ptr(), self.len) }
    }
}

impl Device {
    /// The memory of the bytes `range` of the device, of as many from the first one on as lie in a
    /// row.
    ///
    /// # Errors
    ///
    /// - `EIO` if the first page is bad and `mode` is [`AccessMode::Normal`].
    /// - `ENXIO` if the device is dead, or if the first page lies beyond its end.
    /// - `EOPNOTSUPP` if the device has no operations, or its memory no address.
    ///
    /// C: `dax_direct_access()`
    pub(crate) fn memory<'a>(
        &'a self,
        range: ByteRange<space::Device>,
        mode: AccessMode,
        lock: &'a ReadLock,
    ) -> Result<Memory<'a>> {
        let mut addr = ptr::null_mut();

        // SAFETY: `addr` is valid for a write, the frame is not asked for.
        let count =
            unsafe { self.direct_access(range.pages(), mode, &mut addr, ptr::null_mut(), lock) };
        let count = match count {
            // `memory_failure()` knows bad memory, who reads and writes knows bad blocks.
            Err(EHWPOISON) => return Err(EIO),
            count => count?,
        };

        let in_page = range.start() % PAGE_SIZE;
        let len = count.saturating_mul(PAGE_SIZE).saturating_sub(in_page);
        let addr = NonNull::new(addr.cast::<u8>()).ok_or(EOPNOTSUPP)?;

        // INVARIANT: The driver has given access to `count` pages from `addr` on. The device stays
        // alive, and its memory in place, until the readers of `dax_srcu` are gone.
        // SAFETY: `in_page` lies in the first page.
        // CAST: The length of memory is a `usize`.
        Ok(unsafe {
            Memory::new(
                self,
                range.start() / PAGE_SIZE,
                addr.add(in_page as usize),
                len.min(range.len()) as usize,
            )
        })
    }
}

/// Copies memory, and survives it if the source is bad.
///
/// # Errors
///
/// - `EIO` if a byte of the source is bad.
/// - `ERANGE` if it is more than 4 GiB.
///
/// # Safety
///
/// `to` must be valid for writes of `len` bytes, `from` must be mapped memory of as many.
unsafe fn copy_mc(to: *mut u8, from: *const u8, len: usize) -> Result {
    let len = u32::try_from(len).map_err(|_| ERANGE)?;

    // SAFETY: By the safety requirements.
    match unsafe { bindings::copy_mc_to_kernel(to.cast(), from.cast(), len) } {
        0 => Ok(()),
        _ => Err(EIO),
    }
}
