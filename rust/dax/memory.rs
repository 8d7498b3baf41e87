// SPDX-License-Identifier: GPL-2.0

//! The memory of a DAX device.

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::prelude::*;

use crate::bindings;

use super::ReadLock;

/// Memory of a DAX device that lies in a row.
///
/// # Invariants
///
/// - `addr` is the address of `len` bytes of a device's memory, which stays mapped for the duration
///   of `'a`, the lock's.
/// - `len` is not 0.
pub(crate) struct Memory<'a> {
    addr: NonNull<u8>,
    len: usize,
    _lock: PhantomData<&'a ReadLock>,
}

impl Memory<'_> {
    /// # Safety
    ///
    /// The type invariants must hold.
    pub(super) unsafe fn new(addr: NonNull<u8>, len: usize) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            addr,
            len,
            _lock: PhantomData,
        }
    }

    pub(super) fn as_ptr(&self) -> *mut u8 {
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

    /// Writes as many bytes as `from` has, past the CPU caches.
    ///
    /// # Errors
    ///
    /// - `ERANGE` if there are not so many.
    pub(crate) fn write(&self, from: &[u8]) -> Result {
        if from.len() > self.len {
            return Err(ERANGE);
        }

        // SAFETY: The length was checked. What is written is raw memory that others may access at
        // any time.
        unsafe {
            bindings::memcpy_flushcache(self.as_ptr().cast(), from.as_ptr().cast(), from.len());
        }
        Ok(())
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
