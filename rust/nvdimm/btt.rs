// SPDX-License-Identifier: GPL-2.0

//! Namespaces with a block translation table: ndctl's mode `sector`.
//!
//! `nd_btt` makes the disk, which has no DAX.
//!
//! Reference: [`drivers/nvdimm/btt.c`](srctree/drivers/nvdimm/btt.c)

use core::ptr::{
    self,
    NonNull, //
};

use kernel::{
    device::{
        CoreInternal,
        Device, //
    },
    error::to_result,
    prelude::*, //
};

use crate::bindings;

use super::{
    namespace::namespace_of,
    Event, //
};

/// The disk of a namespace with a block translation table. The drop removes the disk.
///
/// # Invariants
///
/// `self.0` is a `struct nd_btt` that has a namespace, and a disk from
/// `nvdimm_namespace_attach_btt()`. Its device is bound to a driver of this crate. The parent of
/// the device is a region, which is bound, too.
pub struct Btt(NonNull<bindings::nd_btt>);

// SAFETY: `nvdimm_namespace_detach_btt()` may be called from any thread.
unsafe impl Send for Btt {}

// SAFETY: The methods call `nvdimm_flush()`, `nvdimm_check_and_set_ro()` and
// `nvdimm_badblocks_populate()`, which may run at the same time on any threads.
unsafe impl Sync for Btt {}

impl Btt {
    /// Attaches the namespace that `device` has claimed to `nd_btt`, which makes the disk. `nd_btt`
    /// writes a new table if the namespace has none.
    ///
    /// # Errors
    ///
    /// - `ENODEV` if the device has no namespace, or has not been configured.
    /// - `EBUSY` if the memory is in use.
    /// - `ENXIO` if the namespace is too small.
    /// - `ENOMEM` if memory is short, or if the disk cannot be made for another reason.
    ///
    /// # Safety
    ///
    /// `device` must be the device of a `struct nd_btt`. The driver core must be binding it, and it
    /// must stay bound until the returned value has been dropped.
    pub(super) unsafe fn attach(device: &Device<CoreInternal<'_>>) -> Result<Self> {
        let namespace = namespace_of(device)?;
        let raw = ptr::from_ref(device).cast_mut().cast();

        // SAFETY: `device` is the device of a `struct nd_btt` by the safety requirements.
        let btt = unsafe { NonNull::new(bindings::to_nd_btt(raw)) }.ok_or(ENODEV)?;

        // SAFETY: `namespace_of()` returned a valid namespace, which the `struct nd_btt` of the
        // device has claimed.
        to_result(unsafe { bindings::nvdimm_namespace_attach_btt(namespace) })?;

        // INVARIANT: The device stays bound by the safety requirements, and
        // `nvdimm_namespace_attach_btt()` has made the disk. The parent is the region, which
        // deletes the device before it is unbound itself.
        Ok(Self(btt))
    }

    /// The device of the `struct nd_btt`.
    fn device(&self) -> &Device {
        // SAFETY: `self.0` is a valid `struct nd_btt` by the type invariants. A `Device` is a
        // transparent wrapper of `struct device`.
        unsafe { &*(&raw const (*self.0.as_ptr()).dev).cast() }
    }

    fn region(&self) -> *mut bindings::nd_region {
        // SAFETY: `self.0` is a valid `struct nd_btt`, and its parent is a region, by the type
        // invariants.
        unsafe { bindings::to_nd_region((*self.0.as_ptr()).dev.parent) }
    }

    /// Handles an event of the namespace.
    pub(super) fn notify(&self, event: Event) {
        match event {
            Event::RevalidatePoison => self.populate_badblocks(),
            // SAFETY: `self.0` has a disk by the type invariants. The parent of the disk is the
            // device.
            Event::RevalidateRegion => unsafe {
                bindings::nvdimm_check_and_set_ro((*(*self.0.as_ptr()).btt).btt_disk);
            },
        }
    }

    /// Adds the errors that the platform reports to the list that `nd_btt` checks at each read and
    /// write.
    fn populate_badblocks(&self) {
        // SAFETY: `self.0` has a namespace by the type invariants, and keeps it while the device is
        // bound. Every namespace that can be attached is a `struct nd_namespace_io`.
        let (list, range) = unsafe {
            let namespace = (*self.0.as_ptr()).ndns.cast::<bindings::nd_namespace_io>();
            let range = bindings::range {
                start: (*namespace).res.start,
                end: (*namespace).res.end,
            };

            (&raw mut (*namespace).bb, range)
        };

        // SAFETY: The region is bound by the type invariants. `nvdimm_namespace_attach_btt()` has
        // initialized the list, which has its own lock.
        unsafe { bindings::nvdimm_badblocks_populate(self.region(), list, &range) };
    }

    /// Makes all completed writes durable.
    pub(super) fn flush(&self) {
        // SAFETY: The region is bound by the type invariants.
        let result = to_result(unsafe { bindings::nvdimm_flush(self.region(), ptr::null_mut()) });

        if let Err(error) = result {
            dev_err!(
                self.device(),
                "flush failed: {error:?}, the last writes may not be durable\n"
            );
        }
    }
}

impl Drop for Btt {
    fn drop(&mut self) {
        // SAFETY: `nvdimm_namespace_attach_btt()` has attached `self.0` by the type invariants.
        // `nvdimm_namespace_detach_btt()` always returns 0.
        unsafe { bindings::nvdimm_namespace_detach_btt(self.0.as_ptr()) };
    }
}
