// SPDX-License-Identifier: GPL-2.0

//! The provider's side of a DAX device.

use core::{
    marker::PhantomData,
    mem::MaybeUninit, //
};

use kernel::{
    error::{
        from_result,
        to_result, //
    },
    iov::IovIterSource,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        UniqueArc, //
    },
};

use crate::{
    bindings,
    block::{
        Disk,
        DiskRef, //
    },
    dax::holder::Recipients,
    memory_failure::{
        Flags,
        Outcome, //
    },
    pagemap::Access,
    range::{
        space,
        ByteRange,
        PageRange,
        PAGE_SIZE, //
    },
};

use super::{
    AccessMode,
    Device,
    LiveDevice, //
};

/// Operations of a DAX device. The kernel calls them in process context, in a read section of
/// `dax_srcu`. They may sleep. They must not drop the registration of a provider or of a holder,
/// because the drop waits for all read sections.
///
/// C: `struct dax_operations`
pub trait Operations: Send + Sync + Sized + 'static {
    /// Returns access to the memory of as many of `pages` as possible, from the first one on.
    ///
    /// # Errors
    ///
    /// - `EHWPOISON` if the first page is bad and `mode` is [`AccessMode::Normal`].
    /// - `ENXIO` if the first page lies beyond the end of the device.
    fn direct_access(
        &self,
        pages: PageRange<space::Device>,
        mode: AccessMode,
    ) -> Result<Access<'_>>;

    /// Zeroes whole pages, and clears the bad ones if the device can.
    ///
    /// # Errors
    ///
    /// - `EIO` if a page is bad and cannot be cleared.
    fn zero_page_range(&self, pages: PageRange<space::Device>) -> Result;

    /// Writes over bad memory: clears `range`, then fills it from `from`.
    ///
    /// Returns the number of bytes written, 0 if the memory cannot be cleared.
    fn recovery_write(
        &self,
        range: ByteRange<space::Device>,
        from: &mut IovIterSource<'_>,
    ) -> usize;
}

/// The provider's handle of a device. It is valid before the registration and after the removal.
///
/// It gives no access to the memory, because the memory may not be mapped at that time.
pub struct Control(ARef<Device>);

impl Control {
    /// Notifies the device's holder of a memory failure, see [`Device::notify_failure()`].
    #[inline]
    pub fn notify_failure(&self, range: ByteRange<space::Device>, flags: Flags) -> Outcome {
        self.0.notify_failure(range, flags)
    }

    /// Notifies the device's holder of found errors, see [`Device::notify_found()`].
    pub fn notify_found(
        &self,
        range: ByteRange<space::Device>,
        recipients: Recipients,
    ) -> Option<Outcome> {
        self.0.notify_found(range, recipients)
    }

    /// Whether `dax_flush()` writes back CPU caches.
    pub fn write_cache(&self) -> bool {
        self.0.write_cache()
    }

    /// Sets whether `dax_flush()` must write back CPU caches for data to be durable.
    pub fn set_write_cache(&self, enabled: bool) {
        // SAFETY: A `Device` is a valid `struct dax_device` by its type invariants.
        unsafe { bindings::dax_write_cache(self.0.as_raw(), enabled) };
    }
}

/// A DAX device that no consumer can find yet, with memory for the driver's data.
///
/// # Invariants
///
/// The private pointer of `device` points to `data`, and its operations are those of `T`.
pub struct Allocated<T: Operations> {
    device: LiveDevice,
    data: UniqueArc<MaybeUninit<T>>,
}

impl<T: Operations> Allocated<T> {
    /// Allocates a device.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    /// - `EOPNOTSUPP` if the kernel has no DAX on this machine.
    pub fn new() -> Result<Self> {
        let data = UniqueArc::<T>::new_uninit(GFP_KERNEL)?;

        let private = UniqueArc::as_ptr(&data).cast_mut().cast();

        // SAFETY: A caller finds the device, and calls its operations, only after `dax_add_host()`
        // has registered it for a disk. A `Control` calls no operation. `register()` initializes
        // `data` before that, and the registration keeps it in place until it has killed the
        // device.
        let device = unsafe { Device::new(private, &VTable::<T>::OPS) }?;

        // INVARIANT: `alloc_dax()` got the pointer to `data` and the table of `T` above.
        Ok(Self {
            device: LiveDevice(device),
            data,
        })
    }

    /// Returns a handle for the provider, which may outlive the device's registration.
    pub fn control(&self) -> Control {
        Control(self.device.0.clone())
    }

    /// Declares that a store is durable once it has left the CPU, so that `MAP_SYNC` works.
    pub fn set_synchronous(&mut self) {
        // SAFETY: A `Device` is a valid `struct dax_device` by its type invariants.
        unsafe { bindings::set_dax_synchronous(self.device.0.as_raw()) };
    }

    /// Declares that copies into the device must bypass the CPU caches, and that copies out of it
    /// must survive machine checks.
    pub fn set_persistent_memory(&mut self) {
        let device = self.device.0.as_raw();

        // SAFETY: A `Device` is a valid `struct dax_device` by its type invariants.
        unsafe { bindings::set_dax_nocache(device) };
        // SAFETY: A `Device` is a valid `struct dax_device` by its type invariants.
        unsafe { bindings::set_dax_nomc(device) };
    }

    /// Stores the driver's data and registers the device for `disk`.
    ///
    /// Call this before adding the disk: a filesystem looks for the device as soon as it can open
    /// the disk.
    ///
    /// # Errors
    ///
    /// - The error of `init`.
    /// - `EBUSY` if the disk already has a DAX device.
    /// - `ENOMEM` if memory is short.
    pub fn register(self, disk: &Disk, init: impl PinInit<T, Error>) -> Result<Registration<T>> {
        let barrier = LiveDevice::without_operations()?;
        // If `Host::new()` fails, the drop of `inner` kills the device before it frees the data.
        let inner = DeviceWithData {
            device: self.device,
            data: Arc::from(self.data.pin_init_with(init)?),
        };

        Ok(Registration {
            _host: Host::new(&inner.device.0, disk)?,
            _barrier: barrier,
            inner,
        })
    }
}

/// The entry of a device in the table of disks with DAX. The drop removes the entry.
///
/// # Invariants
///
/// `dax_add_host()` succeeded for the disk.
struct Host(DiskRef);

impl Host {
    /// Adds the entry of `device` for `disk`.
    ///
    /// # Errors
    ///
    /// - `EBUSY` if the disk already has a DAX device.
    /// - `ENOMEM` if memory is short.
    fn new(device: &Device, disk: &Disk) -> Result<Self> {
        // SAFETY: `Device` and `Disk` are valid C structures by their type invariants.
        to_result(unsafe { bindings::dax_add_host(device.as_raw(), disk.as_raw()) })?;

        // INVARIANT: `dax_add_host()` just succeeded.
        Ok(Self(disk.reference()))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // SAFETY: `self.0` is a valid disk by the type invariants of `DiskRef`, and
        // `dax_add_host()` has added its entry by the type invariants of `Host`.
        unsafe { bindings::dax_remove_host(self.0.as_raw()) };
    }
}

/// A device with its data.
///
/// # Invariants
///
/// The operations of `device` get a pointer to `data`.
// The order of the fields matters: the drop kills `device` before it frees `data`.
struct DeviceWithData<T: Operations> {
    device: LiveDevice,
    data: Arc<T>,
}

/// A DAX device that filesystems can find through its disk.
///
/// The drop removes the device from the disk, notifies its holder of the removal
/// ([`Flags::MEM_PRE_REMOVE`]), and waits for running operations. Do not drop a registration in an
/// operation or in a holder's callback: the drop would wait for this call.
// The order of the fields matters. The drop of `_host` comes first: it removes the device from the
// disk, so that no other consumer finds the device. A consumer finds the device and claims it in
// one read section of `dax_srcu`, and the drop of `_barrier` waits for these sections. So the drop
// of `inner`, which comes last, notifies every holder.
pub struct Registration<T: Operations> {
    _host: Host,
    _barrier: LiveDevice,
    inner: DeviceWithData<T>,
}

impl<T: Operations> Registration<T> {
    /// The device.
    pub fn device(&self) -> &ARef<Device> {
        &self.inner.device.0
    }

    /// The driver's data.
    pub fn data(&self) -> &Arc<T> {
        &self.inner.data
    }
}

/// The operations table of `T`.
struct VTable<T: Operations>(PhantomData<T>);

impl<T: Operations> VTable<T> {
    /// Borrows the driver's data, [`None`] if the device is dead.
    ///
    /// A device can die while an operation starts, because `kill_dax()` first clears the flag that
    /// `dax_get_private()` checks, and waits for operations after that.
    ///
    /// # Safety
    ///
    /// `dax_dev` must be a device of an [`Allocated<T>`] that was registered. The caller must have
    /// entered a read section of `dax_srcu` before it saw the device alive, and the section must
    /// last for the duration of `'a`.
    unsafe fn data<'a>(dax_dev: *mut bindings::dax_device) -> Option<&'a T> {
        // SAFETY: `dax_dev` is valid by the safety requirements. The pointer is null, or points to
        // `data` by the type invariants of `DeviceWithData`. `data` lives until `kill_dax()` has
        // waited for the readers of `dax_srcu`.
        unsafe { bindings::dax_get_private(dax_dev).cast::<T>().as_ref() }
    }

    /// # Safety
    ///
    /// - Only `dax_direct_access()` may call this, for a live device with this table, under
    ///   `dax_srcu`.
    /// - `kaddr` and `pfn` must be null or valid for writes.
    unsafe extern "C" fn direct_access(
        dax_dev: *mut bindings::dax_device,
        pgoff: c_ulong,
        nr_pages: c_long,
        mode: bindings::dax_access_mode,
        kaddr: *mut *mut c_void,
        pfn: *mut c_ulong,
    ) -> c_long {
        // SAFETY: `dax_direct_access()` passes a device with this table, under `dax_srcu`.
        let Some(data) = (unsafe { Self::data(dax_dev) }) else {
            return ENXIO.to_errno() as c_long;
        };

        let access = u64::try_from(nr_pages)
            .ok()
            .and_then(|count| PageRange::new(pgoff as u64, count))
            .ok_or(EINVAL)
            .and_then(|pages| data.direct_access(pages, AccessMode::from_raw(mode)));

        let access = match access {
            Ok(access) => access,
            // CAST: An errno fits every integer.
            Err(error) => return error.to_errno() as c_long,
        };

        if !kaddr.is_null() {
            // SAFETY: `kaddr` is valid for writes by the safety requirements.
            unsafe { *kaddr = access.as_ptr() };
        }
        if !pfn.is_null() {
            // SAFETY: `pfn` is valid for writes by the safety requirements.
            unsafe { *pfn = access.frames().start() as c_ulong };
        }

        c_long::try_from(access.frames().len()).unwrap_or(c_long::MAX)
    }

    /// # Safety
    ///
    /// Only `dax_zero_page_range()` may call this, for a live device with this table, under
    /// `dax_srcu`.
    unsafe extern "C" fn zero_page_range(
        dax_dev: *mut bindings::dax_device,
        pgoff: c_ulong,
        nr_pages: usize,
    ) -> c_int {
        from_result(|| {
            // SAFETY: `dax_zero_page_range()` passes a device with this table, under `dax_srcu`.
            let data = unsafe { Self::data(dax_dev) }.ok_or(ENXIO)?;
            let pages = PageRange::new(pgoff as u64, nr_pages as u64).ok_or(EINVAL)?;

            data.zero_page_range(pages).map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// - Only `dax_recovery_write()` may call this, for a live device with this table, under
    ///   `dax_srcu`.
    /// - `iter` must be a valid source iterator.
    unsafe extern "C" fn recovery_write(
        dax_dev: *mut bindings::dax_device,
        pgoff: c_ulong,
        addr: *mut c_void,
        bytes: usize,
        iter: *mut bindings::iov_iter,
    ) -> usize {
        // SAFETY: `dax_recovery_write()` passes a device with this table, under `dax_srcu`.
        let Some(data) = (unsafe { Self::data(dax_dev) }) else {
            return 0;
        };

        // `addr` lies in the page `pgoff`, so only its offset in the page is needed.
        let in_page = addr as u64 % PAGE_SIZE;
        let range = PageRange::<space::Device>::new(pgoff as u64, 1)
            .and_then(PageRange::bytes)
            .and_then(|page| page.start().checked_add(in_page))
            .and_then(|start| ByteRange::new(start, bytes as u64));

        // SAFETY: `iter` is a valid source iterator by the safety requirements, and
        // `dax_recovery_write()` does not use it during the call.
        let iter = unsafe { IovIterSource::from_raw(iter) };

        match range {
            Some(range) => data.recovery_write(range, iter).min(bytes),
            None => 0,
        }
    }

    const OPS: bindings::dax_operations = bindings::dax_operations {
        direct_access: Some(Self::direct_access),
        zero_page_range: Some(Self::zero_page_range),
        recovery_write: Some(Self::recovery_write),
    };
}
