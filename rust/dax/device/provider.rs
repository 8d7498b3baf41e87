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
    Alive,
    Device, //
};

/// Operations of a DAX device. They are called in process context and may sleep.
///
/// C: `struct dax_operations`
pub trait Operations: Send + Sync + Sized + 'static {
    /// Gives access to the memory of as many of `pages` as possible, from the first one on.
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

    /// Zeroes whole pages, and mends bad ones where the device can.
    ///
    /// # Errors
    ///
    /// - `EIO` if a page is bad and cannot be mended.
    fn zero_page_range(&self, pages: PageRange<space::Device>) -> Result;

    /// Writes over bad memory: mends `range`, then fills it from `from`.
    ///
    /// Returns the number of bytes written, 0 if the memory cannot be mended.
    fn recovery_write(
        &self,
        range: ByteRange<space::Device>,
        from: &mut IovIterSource<'_>,
    ) -> usize;
}

/// What only the provider of a device may do with it, at any time.
///
/// It gives no access to the memory, which may not be there yet, or not any more.
pub struct Control(ARef<Device>);

impl Control {
    /// Tells the device's holder, see [`Device::notify_failure()`].
    #[inline]
    pub fn notify_failure(&self, range: ByteRange<space::Device>, flags: Flags) -> Outcome {
        self.0.notify_failure(range, flags)
    }

    /// Tells the device's holder of errors that were found, see [`Device::notify_found()`].
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
        // SAFETY: By the type invariants of `Device`.
        unsafe { bindings::dax_write_cache(self.0.as_raw(), enabled) };
    }
}

/// A DAX device that nobody can find yet, with room for the driver's data.
///
/// # Invariants
///
/// The private pointer of `alive` points to `data`, and its operations are those of `T`.
pub struct Allocated<T: Operations> {
    alive: Alive,
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

        // SAFETY: Nobody has the device who could call its operations before a disk was registered
        // for it, see `dax_add_host()`: a `Control` does not. `register()` initializes `data`
        // before that, and the registration keeps it in place until it has killed the device.
        let device = unsafe { Device::new(private, &VTable::<T>::OPS) }?;

        // INVARIANT: Both were handed to `alloc_dax()` above.
        Ok(Self {
            alive: Alive(device),
            data,
        })
    }

    /// What the provider may do with the device.
    pub fn control(&self) -> Control {
        Control(self.alive.0.clone())
    }

    /// States that a store is durable once it left the CPU, so that `MAP_SYNC` works.
    pub fn set_synchronous(&mut self) {
        // SAFETY: By the type invariants of `Device`.
        unsafe { bindings::set_dax_synchronous(self.alive.0.as_raw()) };
    }

    /// States that copies into the device must bypass the CPU caches, and that copies out of it
    /// must survive machine checks.
    pub fn set_persistent_memory(&mut self) {
        let device = self.alive.0.as_raw();

        // SAFETY: By the type invariants of `Device`.
        unsafe { bindings::set_dax_nocache(device) };
        // SAFETY: By the type invariants of `Device`.
        unsafe { bindings::set_dax_nomc(device) };
    }

    /// Puts the driver's data in place and registers the device as that of `disk`.
    ///
    /// Filesystems look for the device as soon as they can open the disk, so it is not added yet.
    ///
    /// # Errors
    ///
    /// - The error of `init`.
    /// - `EBUSY` if the disk already has a DAX device.
    /// - `ENOMEM` if memory is short.
    pub fn register(self, disk: &Disk, init: impl PinInit<T, Error>) -> Result<Registration<T>> {
        let barrier = Alive::without_operations()?;
        // Once there are data, the device is killed before they go, whatever fails.
        let running = Running {
            alive: self.alive,
            data: Arc::from(self.data.pin_init_with(init)?),
        };

        Ok(Registration {
            _host: Host::new(&running.alive.0, disk)?,
            _barrier: barrier,
            running,
        })
    }
}

/// The entry of a device in the table of disks with DAX, removed when dropped.
///
/// # Invariants
///
/// `dax_add_host()` succeeded for the disk.
struct Host(DiskRef);

impl Host {
    fn new(device: &Device, disk: &Disk) -> Result<Self> {
        // SAFETY: Both are valid by their type invariants.
        to_result(unsafe { bindings::dax_add_host(device.as_raw(), disk.as_raw()) })?;

        // INVARIANT: `dax_add_host()` just succeeded.
        Ok(Self(disk.reference()))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // SAFETY: `self.0` is valid by its type invariants, and has an entry by ours.
        unsafe { bindings::dax_remove_host(self.0.as_raw()) };
    }
}

/// A device with its data.
///
/// # Invariants
///
/// The operations of `alive` get a pointer to `data`.
// The fields are dropped in this order: nobody uses the device any more, and only then the data go.
struct Running<T: Operations> {
    alive: Alive,
    data: Arc<T>,
}

/// A DAX device that filesystems can find through its disk.
///
/// When dropped, the device is taken from the disk, its holder is told that all of it goes
/// ([`Flags::MEM_PRE_REMOVE`]), and running operations are waited for. Must not be dropped in an
/// operation or in a holder's callback, which the drop would wait for.
// The fields are dropped in this order: nobody new can find the device; whoever has just found it,
// in a section of `dax_srcu`, has claimed it or not, so that every holder is told; then it goes.
pub struct Registration<T: Operations> {
    _host: Host,
    _barrier: Alive,
    running: Running<T>,
}

impl<T: Operations> Registration<T> {
    /// The device.
    pub fn device(&self) -> &ARef<Device> {
        &self.running.alive.0
    }

    /// The driver's data.
    pub fn data(&self) -> &Arc<T> {
        &self.running.data
    }
}

/// The operations table of `T`.
struct VTable<T: Operations>(PhantomData<T>);

impl<T: Operations> VTable<T> {
    /// Borrows the driver's data, [`None`] if the device is dead.
    ///
    /// A device can die while an operation starts: `kill_dax()` clears the flag that
    /// `dax_get_private()` looks at before it waits for operations.
    ///
    /// # Safety
    ///
    /// `dax_dev` must be a device of an [`Allocated<T>`] that was registered, and `dax_srcu` must
    /// be held for reading since the device was seen alive, for the duration of `'a`.
    unsafe fn data<'a>(dax_dev: *mut bindings::dax_device) -> Option<&'a T> {
        // SAFETY: `dax_dev` is valid. By the type invariants of `Running`, the pointer is null or
        // that of its `data`, which lives until `kill_dax()` has waited for the readers
        // of `dax_srcu`.
        unsafe { bindings::dax_get_private(dax_dev).cast::<T>().as_ref() }
    }

    /// # Safety
    ///
    /// - Called by `dax_direct_access()` only, for a live device with this table, under `dax_srcu`.
    /// - `kaddr` and `pfn` are null or valid for writes.
    unsafe extern "C" fn direct_access(
        dax_dev: *mut bindings::dax_device,
        pgoff: c_ulong,
        nr_pages: c_long,
        mode: bindings::dax_access_mode,
        kaddr: *mut *mut c_void,
        pfn: *mut c_ulong,
    ) -> c_long {
        // SAFETY: The caller holds `dax_srcu`.
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
    /// Called by `dax_zero_page_range()` only, for a live device with this table, under `dax_srcu`.
    unsafe extern "C" fn zero_page_range(
        dax_dev: *mut bindings::dax_device,
        pgoff: c_ulong,
        nr_pages: usize,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The caller holds `dax_srcu`.
            let data = unsafe { Self::data(dax_dev) }.ok_or(ENXIO)?;
            let pages = PageRange::new(pgoff as u64, nr_pages as u64).ok_or(EINVAL)?;

            data.zero_page_range(pages).map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// - Called by `dax_recovery_write()` only, for a live device with this table, under
    ///   `dax_srcu`.
    /// - `iter` is a valid source iterator.
    unsafe extern "C" fn recovery_write(
        dax_dev: *mut bindings::dax_device,
        pgoff: c_ulong,
        addr: *mut c_void,
        bytes: usize,
        iter: *mut bindings::iov_iter,
    ) -> usize {
        // SAFETY: The caller holds `dax_srcu`.
        let Some(data) = (unsafe { Self::data(dax_dev) }) else {
            return 0;
        };

        // `addr` is the address of the first byte in the page `pgoff`; only its offset in the page
        // is news.
        let in_page = addr as u64 % PAGE_SIZE;
        let range = PageRange::<space::Device>::new(pgoff as u64, 1)
            .and_then(PageRange::bytes)
            .and_then(|page| page.start().checked_add(in_page))
            .and_then(|start| ByteRange::new(start, bytes as u64));

        match range {
            // SAFETY: `iter` is a valid source iterator by the safety requirements, and nobody
            // else uses it during the call.
            Some(range) => data.recovery_write(range, unsafe { IovIterSource::from_raw(iter) }),
            None => 0,
        }
    }

    const OPS: bindings::dax_operations = bindings::dax_operations {
        direct_access: Some(Self::direct_access),
        zero_page_range: Some(Self::zero_page_range),
        recovery_write: Some(Self::recovery_write),
    };
}
