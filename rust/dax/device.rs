// SPDX-License-Identifier: GPL-2.0

//! DAX devices, and the provider's side of them.
//!
//! Whoever knows a disk finds its [`Device`] by [`Device::of()`], and where its memory is by
//! [`Device::locate()`]. A provider makes one:
//!
//! 1. [`Allocated::new()`] gives a device that nobody can find or use. The provider says what its
//!    memory is, and takes a [`Control`], for example for the code that will receive memory
//!    failures.
//! 2. [`Allocated::register()`] puts the driver's data in place and makes the device that of a
//!    disk, so that filesystems find it. Only from then on there is a [`Device`].
//! 3. Dropping the [`Registration`] tells the holder that the device goes, then waits until no
//!    operation is running. None runs afterwards.

mod notify;
mod provider;

pub use self::provider::{
    Allocated,
    Control,
    Operations,
    Registration, //
};

use core::ptr::{
    self,
    NonNull, //
};

use kernel::{
    error::{
        from_err_ptr,
        to_result, //
    },
    prelude::*,
    sync::aref::{
        ARef,
        AlwaysRefCounted, //
    },
    types::{
        NotThreadSafe,
        Opaque, //
    },
};

use crate::{
    bindings,
    block::OpenDevice,
    range::{
        space,
        PageRange,
        Pages,
        Window, //
    },
};

/// What an access to a DAX device is for.
///
/// C: `enum dax_access_mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessMode {
    /// An ordinary access, which must not touch bad memory.
    Normal,
    /// An access in order to write bad memory anew.
    RecoveryWrite,
}

impl AccessMode {
    const fn from_raw(mode: bindings::dax_access_mode) -> Self {
        match mode {
            bindings::dax_access_mode_DAX_RECOVERY_WRITE => Self::RecoveryWrite,
            _ => Self::Normal,
        }
    }

    pub(super) const fn as_raw(self) -> bindings::dax_access_mode {
        match self {
            Self::Normal => bindings::dax_access_mode_DAX_ACCESS,
            Self::RecoveryWrite => bindings::dax_access_mode_DAX_RECOVERY_WRITE,
        }
    }
}

/// A DAX device, shared by reference counting: see [`ARef`].
///
/// # Invariants
///
/// A `Device` is a valid `struct dax_device`.
#[repr(transparent)]
pub struct Device(Opaque<bindings::dax_device>);

// SAFETY: `put_dax()` may be called from any thread.
unsafe impl Send for Device {}

// SAFETY: All methods of `Device` call C functions that do their own synchronization, with
// `dax_srcu` and atomic accesses to the flags.
unsafe impl Sync for Device {}

// SAFETY: The reference count of a `struct dax_device` is that of its inode.
unsafe impl AlwaysRefCounted for Device {
    fn inc_ref(&self) {
        // SAFETY: By the type invariants, the inode is valid, and `&self` proves that its count is
        // not 0.
        unsafe { bindings::ihold(bindings::dax_inode(self.as_raw())) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller gives up a reference.
        unsafe { bindings::put_dax(obj.as_ptr().cast()) };
    }
}

impl Device {
    /// Allocates a device whose operations get `private`.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    /// - `EOPNOTSUPP` if the kernel has no DAX on this machine.
    ///
    /// # Safety
    ///
    /// `ops` must be null, or `private` must be what its functions expect from the time that the
    /// device is registered with a disk until `kill_dax()` returned.
    unsafe fn new(
        private: *mut c_void,
        ops: *const bindings::dax_operations,
    ) -> Result<ARef<Self>> {
        // SAFETY: `ops` is null or points to a static table with `zero_page_range` set, by the
        // safety requirements.
        let device = from_err_ptr(unsafe { bindings::alloc_dax(private, ops) })?;

        // SAFETY: `alloc_dax()` returns an error pointer or a device with a reference.
        unsafe { Self::from_raw(device) }.ok_or(ENOMEM)
    }

    /// Takes over the caller's reference to a device, [`None`] if the pointer is null.
    ///
    /// # Safety
    ///
    /// `device` must be null, or a valid device with a reference that the caller owns.
    pub(super) unsafe fn from_raw(device: *mut bindings::dax_device) -> Option<ARef<Self>> {
        // SAFETY: By the safety requirements. `Device` is a transparent wrapper.
        NonNull::new(device.cast()).map(|device| unsafe { ARef::from_raw(device) })
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::dax_device {
        self.0.get()
    }

    /// Finds the DAX device of the disk that `device` is, or is a partition of.
    ///
    /// # Errors
    ///
    /// - `EOPNOTSUPP` if the disk has no DAX.
    /// - `EINVAL` if the start or the size of the partition is not a multiple of the page size.
    /// - `ENXIO` if the device is being removed.
    pub fn of(device: &OpenDevice) -> Result<ARef<Self>> {
        if !device.has_dax() {
            return Err(EOPNOTSUPP);
        }
        if !device.is_page_aligned() {
            return Err(EINVAL);
        }

        // SAFETY: Nobody is called without a holder.
        unsafe { Self::get_by_bdev(device, ptr::null_mut(), ptr::null()) }.ok_or(ENXIO)
    }

    /// Gets the DAX device of a disk, and claims it unless `holder` is null.
    ///
    /// # Safety
    ///
    /// `holder` is null, or the callback of `ops` accepts it from now on until the claim has been
    /// given up by `fs_put_dax()` and the readers of `dax_srcu` have been waited for.
    pub(super) unsafe fn get_by_bdev(
        device: &OpenDevice,
        holder: *mut c_void,
        ops: *const bindings::dax_holder_operations,
    ) -> Option<ARef<Self>> {
        let mut start = 0;

        // SAFETY: The block device is valid while it is open. `holder` and `ops` are as the
        // function expects them by the safety requirements.
        let device =
            unsafe { bindings::fs_dax_get_by_bdev(device.as_raw(), &mut start, holder, ops) };

        // SAFETY: A device that is not null comes with a reference.
        unsafe { Self::from_raw(device) }
    }

    /// Where `pages` of the device lie in physical memory, as many from the first page on as lie in
    /// a row.
    ///
    /// Bad pages have frames, too.
    ///
    /// # Errors
    ///
    /// - `ENXIO` if the device is dead, or if the first page lies beyond its end.
    /// - `EIO` if nothing is mapped at the first page of a mapped device.
    /// - `EOPNOTSUPP` if the device has no operations.
    ///
    /// C: `dax_direct_access()`
    pub fn locate(
        &self,
        pages: PageRange<space::Device>,
        lock: &ReadLock,
    ) -> Result<Window<space::Physical, space::Device, Pages>> {
        let mut first = 0;

        // SAFETY: `first` is valid for a write, the address is not asked for. Ordinary access would
        // stop at the very pages that failed.
        let count = unsafe {
            self.direct_access(
                pages,
                AccessMode::RecoveryWrite,
                ptr::null_mut(),
                &mut first,
                lock,
            )
        }?;

        let frames = PageRange::new(first as u64, count).ok_or(ERANGE)?;
        let pages = PageRange::new(pages.start(), count).ok_or(ERANGE)?;

        Window::new(frames, pages).ok_or(ERANGE)
    }

    /// Gives access to as many of `pages` as possible. Returns their number, which is not 0.
    ///
    /// # Errors
    ///
    /// - `EHWPOISON` if the first page is bad and `mode` is [`AccessMode::Normal`].
    /// - `ENXIO` if the device is dead, or if the first page lies beyond its end.
    /// - `EIO` if nothing is mapped at the first page of a mapped device.
    /// - `EOPNOTSUPP` if the device has no operations.
    ///
    /// # Safety
    ///
    /// `addr` and `first` must be null or valid for a write.
    pub(super) unsafe fn direct_access(
        &self,
        pages: PageRange<space::Device>,
        mode: AccessMode,
        addr: *mut *mut c_void,
        first: *mut c_ulong,
        _lock: &ReadLock,
    ) -> Result<u64> {
        // More than this in one step overflows in the `unsigned int` that nd_pmem has for a number
        // of sectors.
        const MAX_PAGES: u64 = 1 << 28;

        // SAFETY: The device is valid, `_lock` proves that `dax_srcu` is held. The pointers are
        // null or valid by the safety requirements.
        let count = unsafe {
            bindings::dax_direct_access(
                self.as_raw(),
                pages.start() as c_ulong,
                pages.len().min(MAX_PAGES) as c_long,
                mode.as_raw(),
                addr,
                first,
            )
        };

        match u64::try_from(count) {
            Ok(0) => Err(ERANGE),
            Ok(count) => Ok(count),
            // CAST: What is negative is an errno.
            Err(_) => Err(to_result(count as c_int).err().unwrap_or(ERANGE)),
        }
    }

    /// Zeroes a page, and mends it where the device can.
    ///
    /// # Errors
    ///
    /// - `EIO` if the page is bad and cannot be mended.
    /// - `ENXIO` if the device is dead.
    ///
    /// C: `dax_zero_page_range()`
    pub(crate) fn zero_page(&self, page: u64, _lock: &ReadLock) -> Result {
        // SAFETY: The device is valid, `_lock` proves that `dax_srcu` is held.
        to_result(unsafe { bindings::dax_zero_page_range(self.as_raw(), page as c_ulong, 1) })
    }

    /// Whether a holder is registered, at this moment.
    pub fn is_held(&self) -> bool {
        // SAFETY: By the type invariants.
        !unsafe { bindings::dax_holder(self.as_raw()) }.is_null()
    }

    /// Whether operations and notifications still reach the device.
    ///
    /// C: `dax_alive()`
    pub fn is_alive(&self, _lock: &ReadLock) -> bool {
        // SAFETY: The device is valid, `_lock` proves that `dax_srcu` is held.
        unsafe { bindings::dax_alive(self.as_raw()) }
    }

    /// Whether `dax_flush()` writes back CPU caches.
    pub fn write_cache(&self) -> bool {
        // SAFETY: By the type invariants.
        unsafe { bindings::dax_write_cache_enabled(self.as_raw()) }
    }

    /// Whether a store is durable once it left the CPU.
    ///
    /// C: `dax_synchronous()`
    pub fn is_synchronous(&self) -> bool {
        // SAFETY: By the type invariants.
        unsafe { bindings::dax_synchronous(self.as_raw()) }
    }
}

/// The read side of `dax_srcu`: a device that is alive in it stays so until it ends.
///
/// Holders are called in such a section. Sections nest, and may sleep.
///
/// # Invariants
///
/// `dax_read_lock()` returned `self.0`, on this thread.
///
/// C: `dax_read_lock()`
#[must_use = "the section ends when the lock is dropped"]
pub struct ReadLock(c_int, NotThreadSafe);

impl ReadLock {
    /// Enters a section.
    #[allow(clippy::new_without_default, reason = "a lock has no default")]
    pub fn new() -> Self {
        // INVARIANT: By the call.
        // SAFETY: May be called in any process context.
        Self(unsafe { bindings::dax_read_lock() }, NotThreadSafe)
    }
}

impl Drop for ReadLock {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::dax_read_unlock(self.0) };
    }
}

/// The life of a device: when dropped, its holder is told, no operation starts any more, and those
/// that run are waited for, with all other readers of `dax_srcu`.
pub(super) struct Alive(ARef<Device>);

impl Alive {
    /// Allocates a device that has neither operations nor a disk.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(super) fn without_operations() -> Result<Self> {
        // SAFETY: There are no operations.
        unsafe { Device::new(ptr::null_mut(), ptr::null()) }.map(Self)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        // SAFETY: `self.0` is valid.
        unsafe { bindings::kill_dax(self.0.as_raw()) };
    }
}
