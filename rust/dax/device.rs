// SPDX-License-Identifier: GPL-2.0

//! DAX devices, and the provider's side of them.
//!
//! [`Device::of()`] finds the [`Device`] of a disk, and [`Device::locate()`] finds its physical
//! memory. A provider makes a device in these steps:
//!
//! 1. [`Allocated::new()`] allocates a device that no consumer can find. The provider sets the
//!    attributes of the memory, and takes a [`Control`], for example for the code that will receive
//!    memory failures.
//! 2. [`Allocated::register()`] stores the driver's data and registers the device for a disk, so
//!    that filesystems find it. The device is available as a [`Device`] from then on.
//! 3. Dropping the [`Registration`] notifies the holder of the removal, then waits until no
//!    operation is running. No operation starts afterwards.

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

/// The purpose of an access to a DAX device.
///
/// C: `enum dax_access_mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessMode {
    /// An ordinary access, which must not touch bad memory.
    Normal,
    /// An access that overwrites memory, which may be bad.
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
/// `self.0` is a valid `struct dax_device`.
#[repr(transparent)]
pub struct Device(Opaque<bindings::dax_device>);

// SAFETY: `put_dax()` may be called from any thread.
unsafe impl Send for Device {}

// SAFETY: All methods of `Device` call C functions that synchronize themselves, by `dax_srcu` and
// by atomic accesses to the flags.
unsafe impl Sync for Device {}

// SAFETY: A `struct dax_device` lives as long as its inode has a reference. `ihold()` takes one,
// and `put_dax()` drops one.
unsafe impl AlwaysRefCounted for Device {
    fn inc_ref(&self) {
        // SAFETY: `self.0` is a valid `struct dax_device` by the type invariants, and so is its
        // inode. `&self` proves that the reference count is not 0.
        unsafe { bindings::ihold(bindings::dax_inode(self.as_raw())) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller gives up a reference to the valid `struct dax_device`.
        unsafe { bindings::put_dax(obj.as_ptr().cast()) };
    }
}

impl Device {
    /// Allocates a device. Its operations get `private` from `dax_get_private()`.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    /// - `EOPNOTSUPP` if the kernel has no DAX on this machine.
    ///
    /// # Safety
    ///
    /// `ops` must be null, or point to a static table that has `zero_page_range()`. `private` must
    /// be a pointer that the functions of the table accept, from the registration of the device
    /// with a disk until `kill_dax()` returns.
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
        // SAFETY: `device` is valid, with a reference of the caller's, by the safety requirements.
        // `Device` is a transparent wrapper of `struct dax_device`.
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

        // SAFETY: The holder is null.
        unsafe { Self::get_by_bdev(device, ptr::null_mut(), ptr::null()) }.ok_or(ENXIO)
    }

    /// Gets the DAX device of a disk, and claims it unless `holder` is null.
    ///
    /// # Safety
    ///
    /// `holder` must be null, or a pointer that the callback of `ops` accepts from now on. The
    /// callback must accept it until the caller has released the claim by `fs_put_dax()`, and has
    /// then waited for the readers of `dax_srcu`.
    pub(super) unsafe fn get_by_bdev(
        device: &OpenDevice,
        holder: *mut c_void,
        ops: *const bindings::dax_holder_operations,
    ) -> Option<ARef<Self>> {
        let mut start = 0;

        // SAFETY: `device` is open, so its `struct block_device` is valid. `holder` is null or
        // valid for the callback of `ops` by the safety requirements.
        let device =
            unsafe { bindings::fs_dax_get_by_bdev(device.as_raw(), &mut start, holder, ops) };

        // SAFETY: `fs_dax_get_by_bdev()` returns null, or a device with a reference that the caller
        // owns.
        unsafe { Self::from_raw(device) }
    }

    /// Returns the physical location of the first of `pages`, and of as many pages after it as have
    /// contiguous frames.
    ///
    /// The result includes bad pages.
    ///
    /// # Errors
    ///
    /// - `ENXIO` if the device is dead, or if the first page lies beyond its end.
    /// - `EIO` if a device-mapper device maps nothing at the first page.
    /// - `EOPNOTSUPP` if the device has no operations.
    ///
    /// C: `dax_direct_access()`
    pub fn locate(
        &self,
        pages: PageRange<space::Device>,
        lock: &ReadLock,
    ) -> Result<Window<space::Physical, space::Device, Pages>> {
        let mut first = 0;

        // `AccessMode::Normal` fails at a bad page, but callers locate bad pages, too.
        // SAFETY: `addr` is null, and `first` is valid for a write.
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

    /// Gets access to the first of `pages`, and to as many pages after it as are contiguous.
    /// Returns the number of pages, which is not 0.
    ///
    /// # Errors
    ///
    /// - `EHWPOISON` if the first page is bad and `mode` is [`AccessMode::Normal`].
    /// - `ENXIO` if the device is dead, or if the first page lies beyond its end.
    /// - `EIO` if a device-mapper device maps nothing at the first page.
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
        // nd_pmem counts the sectors of an access in an `unsigned int`. 2^28 pages are 2^31
        // sectors, and 2^29 pages would overflow the count.
        const MAX_PAGES: u64 = 1 << 28;

        // SAFETY: `self.0` is valid by the type invariants, and `_lock` proves that `dax_srcu` is
        // held. `addr` and `first` are null or valid for a write by the safety requirements.
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
            // CAST: A negative count is an errno, which fits a `c_int`.
            Err(_) => Err(to_result(count as c_int).err().unwrap_or(ERANGE)),
        }
    }

    /// Zeroes a page, and clears its errors if the device can.
    ///
    /// # Errors
    ///
    /// - `EIO` if the page is bad and cannot be cleared.
    /// - `ENXIO` if the device is dead.
    /// - `EOPNOTSUPP` if the device has no operations.
    ///
    /// C: `dax_zero_page_range()`
    pub(crate) fn zero_page(&self, page: u64, _lock: &ReadLock) -> Result {
        // SAFETY: `self.0` is valid by the type invariants, and `_lock` proves that `dax_srcu` is
        // held.
        to_result(unsafe { bindings::dax_zero_page_range(self.as_raw(), page as c_ulong, 1) })
    }

    /// Whether a holder is registered, at this moment.
    pub fn is_held(&self) -> bool {
        // SAFETY: `self.0` is a valid `struct dax_device` by the type invariants.
        !unsafe { bindings::dax_holder(self.as_raw()) }.is_null()
    }

    /// Whether the device is alive: operations and notifications of a dead device fail.
    ///
    /// C: `dax_alive()`
    pub fn is_alive(&self, _lock: &ReadLock) -> bool {
        // SAFETY: `self.0` is valid by the type invariants, and `_lock` proves that `dax_srcu` is
        // held.
        unsafe { bindings::dax_alive(self.as_raw()) }
    }

    /// Whether `dax_flush()` writes back CPU caches.
    pub fn write_cache(&self) -> bool {
        // SAFETY: `self.0` is a valid `struct dax_device` by the type invariants.
        unsafe { bindings::dax_write_cache_enabled(self.as_raw()) }
    }

    /// Whether a store is durable once it has left the CPU.
    ///
    /// C: `dax_synchronous()`
    pub fn is_synchronous(&self) -> bool {
        // SAFETY: `self.0` is a valid `struct dax_device` by the type invariants.
        unsafe { bindings::dax_synchronous(self.as_raw()) }
    }
}

/// A read section of `dax_srcu`. `kill_dax()` waits for the end of the section before it returns.
///
/// The kernel calls the operations of a device and its holder in such a section. A thread may sleep
/// in a section, and may enter another one.
///
/// A thread in a section must not drop the registration of a provider or of a holder, because the
/// drop waits for all sections.
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
        // INVARIANT: `dax_read_lock()` returns the index of the section of this thread.
        // SAFETY: `dax_read_lock()` has no preconditions in process context.
        Self(unsafe { bindings::dax_read_lock() }, NotThreadSafe)
    }
}

impl Drop for ReadLock {
    fn drop(&mut self) {
        // SAFETY: `dax_read_lock()` returned `self.0` on this thread by the type invariants.
        unsafe { bindings::dax_read_unlock(self.0) };
    }
}

/// A device that the drop kills: `kill_dax()` notifies the holder of the device, makes later
/// operations fail, and waits for all readers of `dax_srcu`, which include running operations.
pub(super) struct LiveDevice(ARef<Device>);

impl LiveDevice {
    /// Allocates a device that has neither operations nor a disk.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(super) fn without_operations() -> Result<Self> {
        // SAFETY: The table of operations is null.
        unsafe { Device::new(ptr::null_mut(), ptr::null()) }.map(Self)
    }
}

impl Drop for LiveDevice {
    fn drop(&mut self) {
        // SAFETY: `self.0` is a reference, so its `struct dax_device` is valid.
        unsafe { bindings::kill_dax(self.0.as_raw()) };
    }
}
