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

/// Contiguous memory of a DAX device.
///
/// # Invariants
///
/// - `addr` is the address of `len` bytes of the memory of `device`. The first byte lies in the
///   page `page` of the device.
/// - `dax_srcu` is held for reading for the duration of `'a`, so the memory stays mapped.
/// - `len` is not 0.
pub(crate) struct Memory<'a> {
    device: &'a Device,
    page: u64,
    addr: NonNull<u8>,
    len: usize,
}

impl<'a> Memory<'a> {
    /// Creates a value from its parts.
    ///
    /// # Safety
    ///
    /// The type invariants must hold for the arguments.
    unsafe fn new(device: &'a Device, page: u64, addr: NonNull<u8>, len: usize) -> Self {
        // INVARIANT: All of them hold by the safety requirements.
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

    /// Fills `to` from the start of this memory. A machine check during the read makes the read
    /// fail.
    ///
    /// # Errors
    ///
    /// - `EIO` if a byte is bad.
    /// - `ERANGE` if `to` is longer than this memory.
    pub(crate) fn read(&self, to: &mut [u8]) -> Result {
        if to.len() > self.len {
            return Err(ERANGE);
        }

        // SAFETY: `addr` is the address of at least `to.len()` bytes by the type invariants and the
        // check above. The bytes are raw memory that other code may change at any time.
        unsafe { copy_mc(to.as_mut_ptr(), self.as_ptr(), to.len()) }
    }

    /// Writes `from` to this memory, from byte `at` of this memory on, past the CPU caches.
    ///
    /// # Errors
    ///
    /// - `ERANGE` if `from` does not fit after `at`.
    pub(crate) fn write(&self, at: usize, from: &[u8]) -> Result {
        if self
            .len
            .checked_sub(at)
            .is_none_or(|room| from.len() > room)
        {
            return Err(ERANGE);
        }

        // SAFETY: `addr` is the address of at least `at + from.len()` bytes by the type invariants
        // and the check above. The bytes are raw memory that other code may access at any time.
        unsafe {
            let to = self.as_ptr().add(at);

            bindings::memcpy_flushcache(to.cast(), from.as_ptr().cast(), from.len());
        }
        Ok(())
    }

    /// Overwrites this memory with the start of `from`, and clears its errors if the device can.
    /// Returns the number of bytes written.
    ///
    /// C: `dax_recovery_write()`
    pub(crate) fn recovery_write(&self, from: &[u8]) -> usize {
        let len = from.len().min(self.len);
        let part = bindings::kvec {
            iov_base: from.as_ptr().cast_mut().cast(),
            iov_len: len,
        };
        let mut iter = MaybeUninit::uninit();

        // SAFETY: `part` and `from` outlive `iter`. `ITER_SOURCE` makes `iter` only read from them.
        unsafe {
            bindings::iov_iter_kvec(iter.as_mut_ptr(), bindings::ITER_SOURCE, &part, 1, len);
        }

        // SAFETY: `addr` lies in `page` of `device`, and `dax_srcu` is held, by the type
        // invariants. `iov_iter_kvec()` has initialized `iter`.
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

    /// Writes back the CPU caches of this memory, unless the CPU caches are durable.
    ///
    /// C: `dax_flush()`
    pub(crate) fn flush(&self) {
        // SAFETY: `addr` is the address of `len` mapped bytes of `device` by the type invariants.
        unsafe { bindings::dax_flush(self.device.as_raw(), self.as_ptr().cast(), self.len) };
    }

    /// Fills this memory with the start of `from`, through the CPU caches.
    ///
    /// # Errors
    ///
    /// - `EIO` if a byte of `from` is bad.
    /// - `ERANGE` if `from` is shorter than this memory.
    pub(crate) fn fill_from(&self, from: &Memory<'_>) -> Result {
        if from.len < self.len {
            return Err(ERANGE);
        }

        // SAFETY: `self` and `from` are mapped memory of at least `self.len` bytes, by the type
        // invariants of `Memory` and the check above. Both are raw memory that other code may
        // access at any time.
        unsafe { copy_mc(self.as_ptr(), from.as_ptr(), self.len) }
    }
}

impl Device {
    /// Returns the memory of the first of the bytes `range` of the device, and of as many bytes
    /// after it as are contiguous.
    ///
    /// # Errors
    ///
    /// - `EIO` if the first page is bad and `mode` is [`AccessMode::Normal`].
    /// - `ENXIO` if the device is dead, or if the first page lies beyond its end.
    /// - `EOPNOTSUPP` if the device has no operations, or if its memory has no kernel address.
    ///
    /// C: `dax_direct_access()`
    pub(crate) fn memory<'a>(
        &'a self,
        range: ByteRange<space::Device>,
        mode: AccessMode,
        lock: &'a ReadLock,
    ) -> Result<Memory<'a>> {
        let mut addr = ptr::null_mut();

        // SAFETY: `addr` is valid for a write, and `first` is null.
        let count =
            unsafe { self.direct_access(range.pages(), mode, &mut addr, ptr::null_mut(), lock) };
        let count = match count {
            // Callers read and write blocks, and the errno for a bad block is `EIO`.
            Err(EHWPOISON) => return Err(EIO),
            count => count?,
        };

        let in_page = range.start() % PAGE_SIZE;
        let len = count.saturating_mul(PAGE_SIZE).saturating_sub(in_page);
        let addr = NonNull::new(addr.cast::<u8>()).ok_or(EOPNOTSUPP)?;

        // INVARIANT: `dax_direct_access()` returned the address of `count` pages, and never returns
        // 0 pages. `lock` holds `dax_srcu` for `'a`, and `kill_dax()` waits for it before the
        // driver unmaps the memory.
        // SAFETY: The type invariants of `Memory` hold by the `INVARIANT` comment above. `in_page`
        // lies in the first page.
        // CAST: `in_page` is less than a page, and the length of mapped memory fits a `usize`.
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

/// Copies memory. A machine check during the read makes the copy fail.
///
/// # Errors
///
/// - `EIO` if a byte of the source is bad.
/// - `ERANGE` if `len` is 4 GiB or more, because the C function takes an `unsigned int`.
///
/// # Safety
///
/// `to` must be valid for writes of `len` bytes, and `from` must be mapped memory of `len` bytes.
unsafe fn copy_mc(to: *mut u8, from: *const u8, len: usize) -> Result {
    let len = u32::try_from(len).map_err(|_| ERANGE)?;

    // SAFETY: `to` is valid for writes and `from` is mapped by the safety requirements.
    match unsafe { bindings::copy_mc_to_kernel(to.cast(), from.cast(), len) } {
        0 => Ok(()),
        _ => Err(EIO),
    }
}
