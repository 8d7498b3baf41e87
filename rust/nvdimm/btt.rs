// SPDX-License-Identifier: GPL-2.0

//! Namespaces with a block translation table: what ndctl calls sector.
//!
//! The disk is that of `nd_btt`. It has no DAX.
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

/// The disk of a namespace with a block translation table.
///
/// When dropped, the disk goes.
///
/// # Invariants
///
/// `self.0` is a `struct nd_btt` that has a namespace, and a disk that
/// `nvdimm_namespace_attach_btt()` has made. It is bound to our driver, and so is its parent, a
/// region.
pub struct Btt(NonNull<bindings::nd_btt>);

// SAFETY: `nvdimm_namespace_detach_btt()` may be called from any thread.
unsafe impl Send for Btt {}

// SAFETY: All methods call C functions that do their own synchronization.
unsafe impl Sync for Btt {}

impl Btt {
    /// Attaches the namespace that `device` has claimed to `nd_btt`, which makes the disk, and the
    /// table if there is none yet.
    ///
    /// # Errors
    ///
    /// - `ENODEV` if the device has no namespace, or has not been configured.
    /// - `EBUSY` if the memory is in use.
    /// - `ENXIO` if the namespace is too small.
    /// - `ENOMEM` if memory is short, or if the disk cannot be made for any other reason.
    ///
    /// # Safety
    ///
    /// `device` must be that of a `struct nd_btt`, which is being bound, and stays bound until the
    /// value has been dropped.
    pub(super) unsafe fn attach(device: &Device<CoreInternal<'_>>) -> Result<Self> {
        let namespace = namespace_of(device)?;
        let raw = ptr::from_ref(device).cast_mut().cast();

        // SAFETY: By the safety requirements.
        let btt = unsafe { NonNull::new(bindings::to_nd_btt(raw)) }.ok_or(ENODEV)?;

        // SAFETY: The namespace is valid. The `struct nd_btt` that has claimed it is that of the
        // device.
        to_result(unsafe { bindings::nvdimm_namespace_attach_btt(namespace) })?;

        // INVARIANT: By the safety requirements and the call.
        Ok(Self(btt))
    }

    /// The namespace's device.
    fn device(&self) -> &Device {
        // SAFETY: The `struct nd_btt` is valid by the type invariants. A `Device` is a transparent
        // wrapper.
        unsafe { &*(&raw const (*self.0.as_ptr()).dev).cast() }
    }

    fn region(&self) -> *mut bindings::nd_region {
        // SAFETY: By the type invariants.
        unsafe { bindings::to_nd_region((*self.0.as_ptr()).dev.parent) }
    }

    /// Follows what happened to the namespace.
    pub(super) fn notify(&self, event: Event) {
        match event {
            Event::RevalidatePoison => self.populate_badblocks(),
            // SAFETY: By the type invariants there is a disk, whose parent is the device.
            Event::RevalidateRegion => unsafe {
                bindings::nvdimm_check_and_set_ro((*(*self.0.as_ptr()).btt).btt_disk);
            },
        }
    }

    /// Enters what the platform knows to be bad in the list by which `nd_btt` reads and writes.
    fn populate_badblocks(&self) {
        // SAFETY: The namespace stays that of the device while that is bound. It is a `struct
        // nd_namespace_io`, as every one that can be attached.
        let (list, range) = unsafe {
            let namespace = (*self.0.as_ptr()).ndns.cast::<bindings::nd_namespace_io>();
            let range = bindings::range {
                start: (*namespace).res.start,
                end: (*namespace).res.end,
            };

            (&raw mut (*namespace).bb, range)
        };

        // SAFETY: The region is bound. The list was initialized when the namespace was attached,
        // and has a lock of its own.
        unsafe { bindings::nvdimm_badblocks_populate(self.region(), list, &range) };
    }

    /// Makes all that was written durable.
    pub(super) fn flush(&self) {
        // SAFETY: The region is bound.
        let result = to_result(unsafe { bindings::nvdimm_flush(self.region(), ptr::null_mut()) });

        if let Err(error) = result {
            dev_err!(self.device(), "cannot be flushed: {error:?}\n");
        }
    }
}

impl Drop for Btt {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, it is attached. It always returns 0.
        unsafe { bindings::nvdimm_namespace_detach_btt(self.0.as_ptr()) };
    }
}
