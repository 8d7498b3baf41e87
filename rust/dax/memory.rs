// SPDX-License-Identifier: GPL-2.0

//! The memory of a DAX device.

use core::{
    mem::MaybeUninit,
    ptr::NonNull, //
};

use kernel::prelude::*;

use crate::bindings;

use super::Device;

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
    pub(super) unsafe fn new(device: &'a Device, page: u64, addr: NonNull<u8>, len: usize) -> Self {
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
