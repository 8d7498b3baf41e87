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

use core::{
    marker::PhantomData,
    mem::MaybeUninit,
    ptr::{
        self,
        NonNull, //
    },
};

use kernel::{
    error::{
        from_err_ptr,
        from_result,
        to_result, //
    },
    iov::IovIterSource,
    prelude::*,
    sync::{
        aref::{
            ARef,
            AlwaysRefCounted, //
        },
        Arc,
        UniqueArc, //
    },
    types::{
        NotThreadSafe,
        Opaque, //
    },
};

use crate::{
    bindings,
    block::{
        Disk,
        DiskRef,
        OpenDevice, //
    },
    memory_failure::{
        Flags,
        Outcome,
        Reason, //
    },
    pagemap::Access,
    range::{
        space,
        ByteRange,
        PageRange,
        Pages,
        Window,
        PAGE_SIZE, //
    },
};

use super::{
    holder::{
        self,
        Recipients, //
    },
    Memory, //
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

    const fn as_raw(self) -> bindings::dax_access_mode {
        match self {
            Self::Normal => bindings::dax_access_mode_DAX_ACCESS,
            Self::RecoveryWrite => bindings::dax_access_mode_DAX_RECOVERY_WRITE,
        }
    }
}

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
    unsafe fn direct_access(
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

    /// Whether the holder, at this moment, is one of a
    /// [`Registration`](super::holder::Registration), and not a filesystem in C.
    pub fn has_registered_holder(&self, _lock: &ReadLock) -> bool {
        // SAFETY: By the type invariants. `_lock` proves that `dax_srcu` is held.
        unsafe { holder::is_registered(bindings::dax_holder(self.as_raw())) }
    }

    /// Notifies the device's holder that `range` of the device failed.
    ///
    /// The holder's callback runs before this returns; it may sleep.
    ///
    /// C: `dax_holder_notify_failure()`
    pub fn notify_failure(&self, range: ByteRange<space::Device>, flags: Flags) -> Outcome {
        // SAFETY: By the type invariants. The function takes `dax_srcu` by itself.
        let answer = to_result(unsafe {
            bindings::dax_holder_notify_failure(
                self.as_raw(),
                range.start(),
                range.len(),
                flags.as_raw(),
            )
        });

        match answer {
            Ok(()) => Outcome::Delivered,
            Err(EOPNOTSUPP) if self.is_held() => Outcome::Declined(Reason::NotSupported),
            Err(EOPNOTSUPP) => Outcome::Declined(Reason::NoHolder),
            // It is the kernel's answer for a dead device, but any holder may fail with it, too.
            Err(ENXIO) if !self.is_alive(&ReadLock::new()) => Outcome::Declined(Reason::Removed),
            Err(error) => Outcome::Failed(error),
        }
    }

    /// Notifies the device's holder of errors that were found in `range`, if it is one of
    /// `recipients`. Returns [`None`] if nobody was notified: there may be no holder, or none who
    /// uses the range.
    ///
    /// Takes time as [`notify_failure()`](Self::notify_failure) does. A filesystem in C is notified
    /// of a failure with [`Flags::NONE`].
    pub fn notify_found(
        &self,
        range: ByteRange<space::Device>,
        recipients: Recipients,
    ) -> Option<Outcome> {
        let lock = ReadLock::new();

        if !self.is_alive(&lock) || !self.is_held() {
            return None;
        }
        if !self.has_registered_holder(&lock) {
            return (recipients == Recipients::All)
                .then(|| self.notify_failure(range, Flags::NONE));
        }

        // SAFETY: By the type invariants. `lock` proves that `dax_srcu` is held.
        unsafe { holder::notify_found(bindings::dax_holder(self.as_raw()), range, recipients) }
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

#[kunit_tests(daxmf_dax_device)]
mod tests {
    use super::*;

    #[test]
    fn nobody_to_tell() -> Result {
        let alive = Alive::without_operations()?;

        assert_eq!(alive.0.is_held(), false);
        assert_eq!(alive.0.has_registered_holder(&ReadLock::new()), false);
        assert_eq!(
            alive.0.notify_failure(ByteRange::ALL, Flags::NONE),
            Outcome::Declined(Reason::NoHolder)
        );
        Ok(())
    }

    #[test]
    fn dead_device_declines() -> Result {
        let alive = Alive::without_operations()?;
        let device = alive.0.clone();

        assert!(device.is_alive(&ReadLock::new()));
        drop(alive);
        assert!(!device.is_alive(&ReadLock::new()));

        assert_eq!(
            device.notify_failure(ByteRange::ALL, Flags::NONE),
            Outcome::Declined(Reason::Removed)
        );
        Ok(())
    }
}
