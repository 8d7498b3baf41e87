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
        Claimed,
        Claims, //
    },
    info_block::{
        find_info_block,
        memory_of,
        read_info_block, //
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
    disk_name: CString,
    kind: Kind,
    layout: Layout,
    /// Whether the region has no part in making writes durable.
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
                // SAFETY: The namespace is valid.
                disk_name: unsafe { disk_name(namespace) }?,
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

    /// The name of the namespace's disk, for example `pmem0`.
    pub fn disk_name(&self) -> &CStr {
        &self.disk_name
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

/// The name of a namespace's disk.
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

    // SAFETY: By the safety requirements, and the buffer is as large as the function expects it.
    let name = unsafe {
        bindings::nvdimm_namespace_disk_name(namespace, name.as_mut_ptr());
        CStr::from_char_ptr(name.as_ptr())
    };

    Ok(CString::try_from(name)?)
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
