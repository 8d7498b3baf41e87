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
            Atomic, //
        },
        srcu,
        Arc,
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

use super::{
    claims::{
        Claims,
        CountedClaim, //
    },
    info_block::{
        check_no_info_block,
        memory_of,
        read_info_block, //
    },
};

/// The kind of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Without an info block: raw, or with labels only. All of it is data.
    Raw,
    /// With the info block of a `struct nd_pfn`, for DAX: ndctl's mode `fsdax`.
    Pfn,
    /// With the info block of a `struct nd_pfn` of an old kernel that padded its start. It supports
    /// block I/O only: see `start_pad` in [`drivers/nvdimm/pfn.h`](srctree/drivers/nvdimm/pfn.h).
    PaddedPfn,
}

/// A namespace that a [`Driver`](super::Driver) is, or was, bound to.
///
/// Functions that need the namespace to be bound are in [`Bound`], which [`bound()`](Self::bound)
/// returns.
///
/// # Invariants
///
/// - `container` is the device of a `struct nd_namespace_io`.
/// - While `is_bound` is set, `device` is bound to the driver. The parent of `device` is a region,
///   which is bound, too.
#[pin_data]
pub struct Namespace {
    /// The device that the driver is bound to: the namespace itself, or the `struct nd_pfn` that
    /// has claimed it.
    device: ARef<Device>,
    container: ARef<Device>,
    disk_name: CString,
    kind: Kind,
    layout: Layout,
    /// Whether a store fence makes writes durable, without a flush of the region.
    is_flushed_by_fence: bool,
    #[pin]
    pub(super) users: Srcu,
    pub(super) is_bound: Atomic<bool>,
    pub(super) claims: Arc<Claims>,
}

impl Namespace {
    /// Probes a device of the nd bus.
    ///
    /// # Errors
    ///
    /// - `ENODEV` if the device has no namespace, or one that is smaller than a page or has no
    ///   UUID.
    /// - `ENXIO` if another device has claimed the namespace, for example because of an info block,
    ///   or if the info block cannot be read or written.
    /// - `EOPNOTSUPP` if the namespace has an info block that this kernel cannot use.
    /// - `EACCES` if the DIMM is locked.
    /// - `EBUSY` if the memory is in use.
    /// - `EINVAL` if the info block is invalid, or if the namespace cannot have one.
    /// - `ENOMEM` if memory is short.
    pub(super) fn probe(device: &Device<CoreInternal<'_>>) -> Result<Arc<Self>> {
        let raw = core::ptr::from_ref(device).cast_mut().cast();
        let namespace = namespace_of(device)?;

        // SAFETY: `raw` is being probed. `namespace` belongs to `raw`, or `raw` has claimed it and
        // has a reference to it. So both are valid.
        let (is_pfn, container) = unsafe {
            (
                bindings::is_nd_pfn(raw),
                Device::get_device(&raw mut (*namespace).dev),
            )
        };

        let (kind, layout) = if is_pfn {
            // SAFETY: `is_nd_pfn()` has checked the type of the device, which is being probed.
            // `namespace_of()` returned the namespace that it has claimed.
            let layout = unsafe { read_info_block(device, raw, namespace) }?;

            match layout.is_padded() {
                false => (Kind::Pfn, layout),
                true => (Kind::PaddedPfn, layout),
            }
        } else {
            // SAFETY: `raw` is being probed, and `namespace_of()` returned its namespace.
            unsafe { check_no_info_block(device, raw, namespace) }?;
            // SAFETY: `namespace` is valid, and a driver is being bound to it.
            (Kind::Raw, Layout::raw(unsafe { memory_of(namespace) }?))
        };

        // INVARIANT: `is_bound` is not set. Every namespace that a driver is bound to is a `struct
        // nd_namespace_io`.
        Arc::pin_init(
            try_pin_init!(Self {
                device: (&***device).into(),
                container,
                // SAFETY: `namespace_of()` returned a valid namespace.
                disk_name: unsafe { disk_name(namespace) }?,
                kind,
                layout,
                // `nvdimm_flush()` calls the region's own function if the region is asynchronous.
                // Otherwise it writes to the flush hints, after a fence. Without flush hints only
                // the fence is left.
                //
                // SAFETY: The parent of the device is a region, which is bound while the device is.
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

    /// The name of the namespace's disk, for example `pmem0`.
    pub fn disk_name(&self) -> &CStr {
        &self.disk_name
    }

    /// The kind of the namespace.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The position of the namespace's DAX device and disk in physical memory. It covers the data
    /// only, not the memory that an info block reserves.
    pub fn window(&self) -> Window<space::Physical, space::Device> {
        self.layout.data()
    }

    /// Returns a guard that keeps the namespace bound while it exists, or [`None`] if the namespace
    /// is not bound any more.
    ///
    /// A thread that has a guard must not drop the driver's [`Binding`](super::binding::Binding):
    /// the drop would wait for the guard.
    pub fn bound(&self) -> Option<Bound<'_>> {
        let guard = self.users.read_lock();

        // INVARIANT: The drop of `UnbindGuard` clears `is_bound`, then waits for `guard`. The
        // driver core unbinds the device only after that.
        self.is_bound.load(Acquire).then_some(Bound {
            namespace: self,
            _guard: guard,
        })
    }

    /// Makes all completed writes durable.
    ///
    /// # Errors
    ///
    /// - `EIO` if the platform failed to flush.
    /// - `ENOMEM` if memory is short.
    /// - `ENXIO` if the region must flush, and the namespace is not bound any more.
    #[inline]
    pub fn flush(&self) -> Result {
        // If the region has neither flush hints nor a flush function, `nvdimm_flush()` only issues
        // barriers.
        if self.is_flushed_by_fence {
            // SAFETY: `pmem_wmb()` is a memory barrier, which has no preconditions.
            unsafe { bindings::pmem_wmb() };
            return Ok(());
        }

        self.bound().ok_or(ENXIO)?.flush()
    }

    fn as_raw(&self) -> *mut bindings::device {
        core::ptr::from_ref(self.device()).cast_mut().cast()
    }
}

/// Returns the namespace that a device is, or has claimed.
///
/// # Errors
///
/// - `ENODEV` if the device has no namespace, or one that is smaller than a page or has no UUID.
/// - `ENXIO` if another device has claimed the namespace.
/// - `EOPNOTSUPP` if the start or the end of the namespace is not aligned for page frames.
/// - `EACCES` if the DIMM is locked.
/// - `EBUSY` if a driver is bound to the namespace that the device has claimed.
pub(super) fn namespace_of(
    device: &Device<CoreInternal<'_>>,
) -> Result<*mut bindings::nd_namespace_common> {
    let raw = core::ptr::from_ref(device).cast_mut().cast();

    // SAFETY: `raw` is a device of the nd bus that is being probed.
    from_err_ptr(unsafe { bindings::nvdimm_namespace_common_probe(raw) }).inspect_err(|error| {
        // Log neither `ENODEV`, as a seed has no namespace yet, nor `ENXIO`, as another device may
        // have claimed the namespace.
        if *error != ENODEV && *error != ENXIO {
            dev_err!(
                device,
                "cannot be used: {error:?}; see ndctl list -Ni for its size and state\n"
            )
        }
    })
}

/// Returns the name of a namespace's disk.
///
/// # Errors
///
/// - `ENOMEM` if memory is short.
///
/// # Safety
///
/// `namespace` must be valid.
unsafe fn disk_name(namespace: *mut bindings::nd_namespace_common) -> Result<CString> {
    let mut name = [0; bindings::DISK_NAME_LEN as usize];

    // SAFETY: `namespace` is valid by the safety requirements. `nvdimm_namespace_disk_name()`
    // writes a string of at most `DISK_NAME_LEN` bytes with its NUL.
    let name = unsafe {
        bindings::nvdimm_namespace_disk_name(namespace, name.as_mut_ptr());
        CStr::from_char_ptr(name.as_ptr())
    };

    Ok(CString::try_from(name)?)
}

/// A guard that keeps a namespace bound.
///
/// # Invariants
///
/// The namespace's device is bound to the driver. The parent of the device is a region, which is
/// bound, too.
#[must_use]
pub struct Bound<'a> {
    namespace: &'a Namespace,
    _guard: srcu::Guard<'a>,
}

impl Bound<'_> {
    fn region(&self) -> *mut bindings::nd_region {
        // SAFETY: The parent of the device is a region by the type invariants.
        unsafe { bindings::to_nd_region((*self.namespace.as_raw()).parent) }
    }

    fn raw_namespace(&self) -> *mut bindings::nd_namespace_common {
        let container = core::ptr::from_ref(&*self.namespace.container);

        // SAFETY: `container` is the device of a `struct nd_namespace_io` by the type invariants of
        // `Namespace`, which starts with its `struct nd_namespace_common`. A `Device` is a
        // transparent wrapper of `struct device`.
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
        // SAFETY: The namespace has a reference to its device, so the device is valid.
        unsafe { Node::of(self.namespace.as_raw()) }
    }

    /// The size of a logical block in bytes.
    pub fn sector_size(&self) -> u32 {
        // SAFETY: `raw_namespace()` returns a valid namespace, because the `Namespace` has a
        // reference to its device.
        unsafe { bindings::pmem_sector_size(self.raw_namespace()) }
    }

    /// Whether the region has flush hints or a flush function, so that [`Namespace::flush()`] does
    /// more than a fence. [`None`] if that is unknown.
    pub fn has_flush(&self) -> Option<bool> {
        // SAFETY: The region is bound by the type invariants.
        match unsafe { bindings::nvdimm_has_flush(self.region()) } {
            0 => Some(false),
            flush if flush > 0 => Some(true),
            _ => None,
        }
    }

    /// Whether CPU caches must be written back for data to be durable.
    pub fn has_cache(&self) -> bool {
        // SAFETY: The region is bound by the type invariants.
        unsafe { bindings::nvdimm_has_cache(self.region()) != 0 }
    }

    /// Whether stores need no flush of the region.
    pub fn is_synchronous(&self) -> bool {
        // SAFETY: The region is bound by the type invariants.
        unsafe { bindings::is_nvdimm_sync(self.region()) }
    }

    /// Flushes the region, see [`Namespace::flush()`].
    fn flush(&self) -> Result {
        // SAFETY: The region is bound by the type invariants.
        to_result(unsafe { bindings::nvdimm_flush(self.region(), core::ptr::null_mut()) })
    }

    /// Makes all completed writes durable, then completes the bio. The bio may be completed after
    /// this returns.
    pub fn flush_bio(&self, bio: Bio) {
        let bio = bio.into_raw();

        // SAFETY: The region is bound by the type invariants, and `into_raw()` returned a bio that
        // this function must complete.
        let result = unsafe { bindings::nvdimm_flush(self.region(), bio.as_ptr()) };

        // CAST: `NVDIMM_FLUSH_ASYNC` is 1.
        if result == bindings::NVDIMM_FLUSH_ASYNC as c_int {
            return;
        }

        // SAFETY: The bio is from `into_raw()`. The result is not `NVDIMM_FLUSH_ASYNC`, so the
        // region does not complete it.
        unsafe { Bio::from_raw(bio) }.end(to_result(result));
    }

    /// Claims the memory of the namespace, including the memory that an info block reserves.
    /// `/proc/iomem` shows it by the name of the namespace.
    ///
    /// The unbind of the driver waits until the claim, or the object that contains it, is dropped.
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
            CountedClaim::new(&self.namespace.claims),
        )
    }

    /// Returns the physical addresses of `range` of the device.
    ///
    /// # Errors
    ///
    /// - `ERANGE` if a part of the range lies outside the namespace.
    fn locate(&self, range: ByteRange<space::Device>) -> Result<ByteRange<space::Physical>> {
        self.namespace.window().outward(range).ok_or(ERANGE)
    }

    /// Calls the platform to clear errors in `range` of the device. The contents of the range are
    /// undefined afterwards, so the caller must write it.
    ///
    /// Returns the number of bytes from the start of the range that were cleared.
    ///
    /// # Errors
    ///
    /// - `ENOTTY` or another errno of the platform if it cannot clear errors.
    /// - `EINVAL` if the range is 4 GiB or longer, because the C function takes an `unsigned int`.
    /// - `ERANGE` if a part of the range lies outside the namespace.
    pub fn clear_poison(&self, range: ByteRange<space::Device>) -> Result<u64> {
        let start = self.locate(range)?.start();
        let len = u32::try_from(range.len()).map_err(|_| EINVAL)?;

        // SAFETY: The device is bound to a driver of the nd bus by the type invariants.
        let cleared = unsafe { bindings::nvdimm_clear_poison(self.namespace.as_raw(), start, len) };

        u64::try_from(cleared).map_err(|_| {
            // CAST: A negative result is an errno.
            to_result(cleared as c_int).err().unwrap_or(EIO)
        })
    }

    /// Adds the errors that the platform reports in `range` of the device to `list`. Errors that do
    /// not fit the list are left out.
    ///
    /// The list is relative to the start of the range. The returned window translates between the
    /// device and the list.
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

        // SAFETY: The region is bound by the type invariants. `list` is initialized by the type
        // invariants of `Badblocks`, and has its own lock.
        unsafe { bindings::nvdimm_badblocks_populate(self.region(), list.as_raw(), &physical) };
        list.notify();
        Ok(Window::at(range))
    }

    /// Makes the namespace's disk read-only or writable, like the region.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if `disk` is not a disk of this namespace.
    pub fn update_read_only<T: block::Operations>(&self, disk: &block::Registration<T>) -> Result {
        if disk.parent() != self.namespace.as_raw() {
            return Err(EINVAL);
        }

        // SAFETY: `disk` is registered, and its parent is the device of the namespace, whose parent
        // is a region.
        unsafe { bindings::nvdimm_check_and_set_ro(disk.as_raw()) };
        Ok(())
    }
}
