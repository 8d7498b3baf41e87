// SPDX-License-Identifier: GPL-2.0

//! Namespaces.
//!
//! Reference: [`drivers/nvdimm/namespace_devs.c`](srctree/drivers/nvdimm/namespace_devs.c),
//! [`drivers/nvdimm/pfn_devs.c`](srctree/drivers/nvdimm/pfn_devs.c),
//! [`drivers/nvdimm/region_devs.c`](srctree/drivers/nvdimm/region_devs.c)

use kernel::{
    device::{
        self,
        CoreInternal,
        Device, //
    },
    error::{
        from_err_ptr,
        to_result, //
    },
    new_srcu,
    prelude::*,
    str::CString,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Release, //
        },
        new_condvar,
        new_mutex,
        srcu,
        Arc,
        CondVar,
        Mutex,
        Srcu, //
    },
};

use crate::{
    badblocks::Badblocks,
    bindings,
    block::{
        self,
        Bio, //
    },
    numa::Node,
    pagemap::{
        Claim,
        Layout, //
    },
    range::{
        space,
        ByteRange,
        Space,
        Window, //
    },
};

/// What a namespace was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing says: it is raw, or has labels only. All of it is data.
    Raw,
    /// DAX: it has the info block of a `struct nd_pfn`, as ndctl's fsdax.
    Pfn,
    /// DAX, by an old kernel that padded its start. It is of use to block I/O only: see `start_pad`
    /// in [`drivers/nvdimm/pfn.h`](srctree/drivers/nvdimm/pfn.h).
    PaddedPfn,
}

/// A namespace that a driver of ours is, or was, bound to.
///
/// What needs the namespace to be bound goes through [`bound()`](Self::bound).
///
/// # Invariants
///
/// - `container` is the device of a `struct nd_namespace_io`.
/// - While `is_bound` is set, `device` is bound to our driver, and so is its parent, a region.
#[pin_data]
pub struct Namespace {
    /// What the driver is bound to: the namespace itself, or the `struct nd_pfn` that has claimed
    /// it.
    device: ARef<Device>,
    container: ARef<Device>,
    kind: Kind,
    layout: Layout,
    /// Whether the region has no part in making writes durable.
    is_flushed_by_fence: bool,
    #[pin]
    users: Srcu,
    is_bound: Atomic<bool>,
    claims: Arc<Claims>,
}

impl Namespace {
    /// Probes a device of the nd bus.
    ///
    /// # Errors
    ///
    /// - `ENODEV` if it has no namespace, or one without a size.
    /// - `ENXIO` if another device has claimed the namespace, for example because of an info block,
    ///   or if the info block cannot be read or written.
    /// - `EOPNOTSUPP` if it has an info block that this kernel cannot use.
    /// - `EACCES` if the DIMM is locked.
    /// - `EBUSY` if the memory is in use.
    /// - `EINVAL` if it is too small.
    /// - `ENOMEM` if memory is short.
    pub(super) fn probe(device: &Device<CoreInternal<'_>>) -> Result<Arc<Self>> {
        let raw = core::ptr::from_ref(device).cast_mut().cast();
        let namespace = namespace_of(device)?;

        // SAFETY: Both are valid. The namespace's device is the one that is being probed, or that
        // has a reference to it.
        let (is_pfn, container) = unsafe {
            (
                bindings::is_nd_pfn(raw),
                Device::get_device(&raw mut (*namespace).dev),
            )
        };

        let (kind, layout) = if is_pfn {
            // SAFETY: The device is a `struct nd_pfn` that is being probed, and this its namespace.
            let layout = unsafe { read_info_block(device, raw, namespace) }?;

            match layout.is_padded() {
                false => (Kind::Pfn, layout),
                true => (Kind::PaddedPfn, layout),
            }
        } else {
            find_info_block(device, raw, namespace)?;
            // SAFETY: The device is a namespace.
            (Kind::Raw, Layout::raw(unsafe { memory_of(namespace) }?))
        };

        // INVARIANT: Nobody takes it for bound yet. Every namespace that a driver is bound to is a
        // `struct nd_namespace_io`.
        Arc::pin_init(
            try_pin_init!(Self {
                device: (&***device).into(),
                container,
                kind,
                layout,
                // Flushes go through a function of the region's own if it is asynchronous, and else
                // to the flush hints.
                //
                // SAFETY: The parent of a namespace is a region, which is bound while the
                // namespace is.
                is_flushed_by_fence: unsafe {
                    let region = bindings::to_nd_region((*raw).parent);

                    bindings::is_nvdimm_sync(region) && bindings::nvdimm_has_flush(region) <= 0
                },
                users <- new_srcu!("Namespace::users"),
                is_bound: Atomic::new(false),
                claims: Claims::new()?,
            }),
            GFP_KERNEL,
        )
    }

    /// The namespace's device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What it was made for.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Where the DAX device and the disk of the namespace lie in physical memory. That is where its
    /// data are: not what an info block reserves.
    pub fn window(&self) -> Window<space::Physical, space::Device> {
        self.layout.data()
    }

    /// Keeps the namespace bound, as long as the guard is there. Returns [`None`] if it is not
    /// bound any more.
    ///
    /// The driver's data must not be dropped with a guard held, its drop would wait for it.
    pub fn bound(&self) -> Option<Bound<'_>> {
        let guard = self.users.read_lock();

        // INVARIANT: `Binding` clears the flag, then waits for us, then lets the device go.
        self.is_bound.load(Acquire).then_some(Bound {
            namespace: self,
            _guard: guard,
        })
    }

    /// Makes all that was written durable.
    ///
    /// # Errors
    ///
    /// - `EIO` if the platform failed to.
    /// - `ENOMEM` if memory is short.
    /// - `ENXIO` if the namespace is not bound any more, and the platform had to be asked.
    #[inline]
    pub fn flush(&self) -> Result {
        // What `nvdimm_flush()` comes to where there are no flush hints.
        if self.is_flushed_by_fence {
            // SAFETY: A barrier has no preconditions.
            unsafe { bindings::pmem_wmb() };
            return Ok(());
        }

        self.bound().ok_or(ENXIO)?.flush()
    }

    fn as_raw(&self) -> *mut bindings::device {
        core::ptr::from_ref(self.device()).cast_mut().cast()
    }
}

/// The namespace that a device is, or has claimed.
///
/// # Errors
///
/// - `ENODEV` if the device has none, or one without a size.
/// - `ENXIO` if another device has claimed it.
/// - `EOPNOTSUPP` if it should have page frames and cannot.
/// - `EACCES` if the DIMM is locked.
/// - `EBUSY` if a driver is bound to the namespace that the device has claimed.
pub(super) fn namespace_of(
    device: &Device<CoreInternal<'_>>,
) -> Result<*mut bindings::nd_namespace_common> {
    let raw = core::ptr::from_ref(device).cast_mut().cast();

    // SAFETY: `raw` is a device of the nd bus that is being probed.
    from_err_ptr(unsafe { bindings::nvdimm_namespace_common_probe(raw) }).inspect_err(|error| {
        // Seeds, and a namespace that another device has claimed, are nothing to report.
        if *error != ENODEV && *error != ENXIO {
            dev_err!(
                device,
                "cannot be used: {error:?}; see ndctl list -Ni for its size and state\n"
            )
        }
    })
}

/// The bytes that info blocks may lie in.
///
/// C: `nd_info_block_reserve()`
const INFO_BLOCK_RESERVE: u64 = 8192;

/// The physical addresses of all of a namespace.
///
/// # Errors
///
/// - `EINVAL` if it has none.
///
/// # Safety
///
/// `namespace` must be valid, and one that a driver can be bound to.
unsafe fn memory_of(
    namespace: *mut bindings::nd_namespace_common,
) -> Result<ByteRange<space::Physical>> {
    // SAFETY: Every namespace that a driver can be bound to is a `struct nd_namespace_io`, which
    // starts with its `struct nd_namespace_common`.
    let resource = unsafe { &(*namespace.cast::<bindings::nd_namespace_io>()).res };

    resource
        .end
        .checked_add(1)
        .and_then(|end| ByteRange::between(resource.start, end))
        .ok_or(EINVAL)
}

/// Makes the info block of a namespace readable, until `devm_namespace_disable()` or, at the
/// latest, the device is unbound.
///
/// # Errors
///
/// - `EBUSY` if the memory is in use.
/// - `ENOMEM` if memory is short.
fn enable(
    device: &Device<CoreInternal<'_>>,
    raw: *mut bindings::device,
    namespace: *mut bindings::nd_namespace_common,
) -> Result {
    // SAFETY: Both are valid, and the device is being probed.
    to_result(unsafe { bindings::devm_namespace_enable(raw, namespace, INFO_BLOCK_RESERVE) })
        .inspect_err(|error| dev_err!(device, "cannot be read: {error:?}, is it in use?\n"))
}

/// Looks for an info block at the start of a namespace, which says that it is not a raw one.
///
/// # Errors
///
/// - `ENXIO` if there is one; the nd bus has made a device for it, which it probes next.
/// - `EOPNOTSUPP` if there is one that this kernel cannot use.
/// - `EBUSY` if the memory is in use.
/// - `ENOMEM` if memory is short.
fn find_info_block(
    device: &Device<CoreInternal<'_>>,
    raw: *mut bindings::device,
    namespace: *mut bindings::nd_namespace_common,
) -> Result {
    enable(device, raw, namespace)?;

    for probe in [
        bindings::nd_btt_probe,
        bindings::nd_pfn_probe,
        bindings::nd_dax_probe,
    ] {
        // SAFETY: As above, and the namespace is enabled.
        match to_result(unsafe { probe(raw, namespace) }) {
            Ok(()) => return Err(ENXIO),
            Err(EOPNOTSUPP) => {
                dev_err!(device, "has an info block that this kernel cannot use\n");
                return Err(EOPNOTSUPP);
            }
            // Not looked for, so it may be there.
            Err(ENOMEM) => return Err(ENOMEM),
            // No info block of this kind.
            Err(_) => (),
        }
    }

    // SAFETY: The namespace was enabled above.
    unsafe { bindings::devm_namespace_disable(raw, namespace) };
    Ok(())
}

/// Reads the info block of an fsdax namespace, or writes it if it has none yet.
///
/// # Errors
///
/// - `ENXIO` if it cannot be read or written.
/// - `EINVAL` if the namespace cannot have one, or if it makes no sense.
/// - `EOPNOTSUPP` if it is not what the device was made for, or of no use to this kernel.
/// - `EBUSY` if the memory is in use.
/// - `ENOMEM` if memory is short.
///
/// # Safety
///
/// `raw` must be the device of a `struct nd_pfn`, which is being probed, and `namespace` the one
/// that it has claimed.
unsafe fn read_info_block(
    device: &Device<CoreInternal<'_>>,
    raw: *mut bindings::device,
    namespace: *mut bindings::nd_namespace_common,
) -> Result<Layout> {
    enable(device, raw, namespace)?;

    // SAFETY: By the safety requirements, and the namespace is enabled.
    let layout = unsafe { layout_of(raw, namespace) }.inspect_err(|error| {
        dev_err!(device, "info block cannot be used: {error:?}\n");
    })?;

    // SAFETY: The namespace was enabled, and `nvdimm_setup_pfn()` has left it so.
    unsafe { bindings::devm_namespace_disable(raw, namespace) };
    Ok(layout)
}

/// What the info block of an fsdax namespace says.
///
/// # Errors
///
/// Those of [`read_info_block()`], but for `EBUSY`.
///
/// # Safety
///
/// As there, and `namespace` must be enabled.
unsafe fn layout_of(
    raw: *mut bindings::device,
    namespace: *mut bindings::nd_namespace_common,
) -> Result<Layout> {
    // SAFETY: All fields of a `struct dev_pagemap` may be zero.
    let mut pgmap = unsafe { core::mem::zeroed::<bindings::dev_pagemap>() };

    // SAFETY: By the safety requirements. `pgmap` has no flags, to which the function adds.
    let data_offset = unsafe {
        let pfn = bindings::to_nd_pfn(raw);

        to_result(bindings::nvdimm_setup_pfn(pfn, &mut pgmap))?;
        // The info block is gone when the device is unbound, so nothing points to it.
        u64::from_le((*(*pfn).pfn_sb).dataoff)
    };

    // SAFETY: `nvdimm_setup_pfn()` has set the only range.
    let mapped = unsafe { *pgmap.__bindgen_anon_1.range.as_ref() };
    let mapped = mapped
        .end
        .checked_add(1)
        .and_then(|end| ByteRange::between(mapped.start, end))
        .ok_or(EINVAL)?;
    let altmap = (pgmap.flags & bindings::PGMAP_ALTMAP_VALID != 0).then_some(pgmap.altmap);
    // SAFETY: The namespace is valid, and its `struct nd_pfn` is being probed.
    let memory = unsafe { memory_of(namespace) }?;

    // The C function checks what the info block says in part only.
    Layout::new(memory, mapped, data_offset, altmap).ok_or(EINVAL)
}

/// A namespace that stays bound as long as this is there.
///
/// # Invariants
///
/// The namespace's device is bound to our driver.
#[must_use]
pub struct Bound<'a> {
    namespace: &'a Namespace,
    _guard: srcu::Guard<'a>,
}

impl Bound<'_> {
    fn region(&self) -> *mut bindings::nd_region {
        // SAFETY: By the type invariants of `Namespace`, the parent is a region.
        unsafe { bindings::to_nd_region((*self.namespace.as_raw()).parent) }
    }

    fn raw_namespace(&self) -> *mut bindings::nd_namespace_common {
        let container = core::ptr::from_ref(&*self.namespace.container);

        // SAFETY: By the type invariants of `Namespace`. A `Device` is a transparent wrapper.
        unsafe {
            kernel::container_of!(
                container.cast_mut().cast::<bindings::device>(),
                bindings::nd_namespace_common,
                dev
            )
        }
    }

    /// The namespace.
    pub fn namespace(&self) -> &Namespace {
        self.namespace
    }

    /// The namespace's device.
    pub fn device(&self) -> &Device<device::Bound> {
        // SAFETY: The device is bound by the type invariants.
        unsafe { self.namespace.device().as_bound() }
    }

    /// The NUMA node of the memory.
    pub fn node(&self) -> Node {
        // SAFETY: The device is valid.
        unsafe { Node::of(self.namespace.as_raw()) }
    }

    /// The size of a logical block in bytes.
    pub fn sector_size(&self) -> u32 {
        // SAFETY: The namespace is valid.
        unsafe { bindings::pmem_sector_size(self.raw_namespace()) }
    }

    /// The name of the namespace's disk, for example `pmem0`.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub fn disk_name(&self) -> Result<CString> {
        let mut name = [0; bindings::DISK_NAME_LEN as usize];

        // SAFETY: The namespace is valid, and the buffer as large as the function expects it.
        let name = unsafe {
            bindings::nvdimm_namespace_disk_name(self.raw_namespace(), name.as_mut_ptr());
            CStr::from_char_ptr(name.as_ptr())
        };

        Ok(CString::try_from(name)?)
    }

    /// Whether writes can be made durable by [`Namespace::flush()`]. [`None`] if the platform
    /// does not say.
    pub fn has_flush(&self) -> Option<bool> {
        // SAFETY: The region is bound.
        match unsafe { bindings::nvdimm_has_flush(self.region()) } {
            0 => Some(false),
            flush if flush > 0 => Some(true),
            _ => None,
        }
    }

    /// Whether CPU caches must be written back for data to be durable.
    pub fn has_cache(&self) -> bool {
        // SAFETY: The region is bound.
        unsafe { bindings::nvdimm_has_cache(self.region()) != 0 }
    }

    /// Whether stores need no flush of the region.
    pub fn is_synchronous(&self) -> bool {
        // SAFETY: The region is bound.
        unsafe { bindings::is_nvdimm_sync(self.region()) }
    }

    fn flush(&self) -> Result {
        // SAFETY: The region is bound.
        to_result(unsafe { bindings::nvdimm_flush(self.region(), core::ptr::null_mut()) })
    }

    /// Makes all that was written durable, then completes the bio. That may be after this returned.
    pub fn flush_bio(&self, bio: Bio) {
        let bio = bio.into_raw();

        // SAFETY: The region is bound, and the bio ours.
        let answer = unsafe { bindings::nvdimm_flush(self.region(), bio.as_ptr()) };

        // CAST: A small positive number.
        if answer == bindings::NVDIMM_FLUSH_ASYNC as c_int {
            return;
        }

        // SAFETY: The region has left the completion to us.
        unsafe { Bio::from_raw(bio) }.end(to_result(answer));
    }

    /// Claims the memory of the namespace, with what an info block reserves. `/proc/iomem` shows
    /// the name of the namespace.
    ///
    /// The namespace stays bound as long as the claim is there: unbinding the driver waits until
    /// the claim, or what it was made a part of, is dropped.
    ///
    /// # Errors
    ///
    /// - `EBUSY` if the memory, or a part of it, is in use.
    /// - `ENOMEM` if memory is short.
    pub fn claim(&self) -> Result<Claim> {
        let name = CString::try_from_fmt(fmt!("{}", self.namespace.container.name()))?;

        Claim::new(
            self.namespace.layout,
            name,
            Claimed::new(&self.namespace.claims),
        )
    }

    /// The physical addresses of `range` of the device.
    ///
    /// # Errors
    ///
    /// - `ERANGE` if a part of it lies outside the namespace.
    fn locate(&self, range: ByteRange<space::Device>) -> Result<ByteRange<space::Physical>> {
        self.namespace.window().outward(range).ok_or(ERANGE)
    }

    /// Asks the platform to mend `range` of the device. What it holds is undefined afterwards, and
    /// whoever asked writes it anew.
    ///
    /// Returns how many bytes from the start of the range were mended.
    ///
    /// # Errors
    ///
    /// - `ENOTTY` or another errno of the platform if it cannot.
    /// - `EINVAL` if the range is too long.
    /// - `ERANGE` if a part of it lies outside the namespace.
    pub fn clear_poison(&self, range: ByteRange<space::Device>) -> Result<u64> {
        let start = self.locate(range)?.start();
        let len = u32::try_from(range.len()).map_err(|_| EINVAL)?;

        // SAFETY: The device is bound to a driver of the nd bus.
        let cleared = unsafe { bindings::nvdimm_clear_poison(self.namespace.as_raw(), start, len) };

        u64::try_from(cleared).map_err(|_| {
            // CAST: What is negative is an errno.
            to_result(cleared as c_int).err().unwrap_or(EIO)
        })
    }

    /// Enters in `list` what the platform knows to be bad of `range` of the device. What finds no
    /// room in the list is left out.
    ///
    /// The list counts from the start of the range, as the window says that is returned.
    ///
    /// # Errors
    ///
    /// - `ERANGE` if a part of the range lies outside the namespace.
    pub fn populate_badblocks<S: Space>(
        &self,
        range: ByteRange<space::Device>,
        list: &Badblocks<S>,
    ) -> Result<Window<space::Device, S>> {
        let physical = self.locate(range)?.into();

        // SAFETY: The region is bound, the list is valid and has a lock of its own.
        unsafe { bindings::nvdimm_badblocks_populate(self.region(), list.as_raw(), &physical) };
        list.notify();
        Ok(Window::at(range))
    }

    /// Makes a disk of the namespace read-only or writable, as the region is.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if it is not a disk of this namespace.
    pub fn update_read_only<T: block::Operations>(&self, disk: &block::Registration<T>) -> Result {
        if disk.parent() != self.namespace.as_raw() {
            return Err(EINVAL);
        }

        // SAFETY: The disk is valid, and its parent is the device of the namespace.
        unsafe { bindings::nvdimm_check_and_set_ro(disk.as_raw()) };
        Ok(())
    }
}

/// The binding of a driver to a namespace, which is the device's private data.
#[pin_data]
pub struct Binding<T> {
    // Dropped first, for it may need the namespace to be bound.
    #[pin]
    data: T,
    _unbind: Unbind,
}

impl<T> Binding<T> {
    pub(super) fn new(unbind: Unbind, data: impl PinInit<T, Error>) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _unbind: unbind,
            data <- data,
        })
    }

    pub(super) fn data(&self) -> &T {
        &self.data
    }
}

/// The claims of the memory of a namespace.
#[pin_data]
struct Claims {
    #[pin]
    number: Mutex<usize>,
    #[pin]
    none_left: CondVar,
}

impl Claims {
    fn new() -> Result<Arc<Self>> {
        let claims = pin_init!(Self {
            number <- new_mutex!(0),
            none_left <- new_condvar!(),
        });

        Arc::pin_init(claims, GFP_KERNEL)
    }

    /// Waits until there is no claim. `left` is called once if there is one.
    fn wait(&self, left: impl FnOnce()) {
        let mut number = self.number.lock();

        if *number != 0 {
            left();
        }
        while *number != 0 {
            self.none_left.wait(&mut number);
        }
    }
}

/// A claim that unbinding the namespace waits for, until this is dropped.
///
/// # Invariants
///
/// `self.0` counts it.
pub(crate) struct Claimed(Arc<Claims>);

impl Claimed {
    fn new(claims: &Arc<Claims>) -> Self {
        let mut number = claims.number.lock();

        // INVARIANT: It is counted here. One cannot have so many that the number overflows.
        *number = number.saturating_add(1);
        Self(claims.clone())
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        let mut number = self.0.number.lock();

        *number = number.saturating_sub(1);
        self.0.none_left.notify_all();
    }
}

/// Lets a namespace go when dropped: nobody can take it for bound any more, and those who did are
/// waited for. Then the claims of its memory are waited for. They were dropped with the driver's
/// data, unless the driver has kept one elsewhere: memory must not go while it can be accessed.
pub(super) struct Unbind(Arc<Namespace>);

impl Unbind {
    /// Says that a namespace is bound from now on.
    ///
    /// # Safety
    ///
    /// Its device must be bound, or being bound, until the value has been dropped.
    pub(super) unsafe fn new(namespace: Arc<Namespace>) -> Self {
        // INVARIANT: By the safety requirements.
        namespace.is_bound.store(true, Release);
        Self(namespace)
    }
}

impl Drop for Unbind {
    fn drop(&mut self) {
        self.0.is_bound.store(false, Release);
        // Who claims memory is one of those who are waited for first.
        self.0.users.synchronize();
        self.0.claims.wait(|| {
            dev_warn!(
                self.0.device(),
                "driver still uses the memory, unbinding waits until it does not\n"
            )
        });
    }
}
