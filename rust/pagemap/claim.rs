// SPDX-License-Identifier: GPL-2.0

//! Claims of physical memory.
//!
//! C header: [`include/linux/ioport.h`](srctree/include/linux/ioport.h)

use kernel::{
    io::resource::{
        self,
        Region,
        Resource, //
    },
    prelude::*,
    str::CString, //
};

use crate::{
    bindings,
    nvdimm::Claimed,
    range::{
        space,
        Window, //
    },
};

use super::Layout;

/// A range of physical memory that its driver alone uses, until this is dropped. Until then the
/// namespace that has the memory stays bound.
///
/// See [`Bound::claim()`](crate::nvdimm::namespace::Bound::claim).
// The fields are dropped in this order: who waits for the namespace finds the memory unused.
pub struct Claim {
    _region: Region,
    _claimed: Claimed,
    pub(super) layout: Layout,
}

impl Claim {
    /// Claims memory. `name` is what `/proc/iomem` shows.
    ///
    /// # Errors
    ///
    /// - `EBUSY` if the memory, or a part of it, is in use.
    pub(crate) fn new(layout: Layout, name: CString, claimed: Claimed) -> Result<Self> {
        // SAFETY: `iomem_resource` is the static root of all memory resources. `Resource` is a
        // transparent wrapper.
        let iomem = unsafe { &*(&raw mut bindings::iomem_resource).cast::<Resource>() };

        let region = iomem
            .request_region(
                layout.memory.start(),
                layout.memory.len(),
                name,
                resource::Flags::IORESOURCE_MEM,
            )
            .ok_or(EBUSY)?;

        Ok(Self {
            _region: region,
            _claimed: claimed,
            layout,
        })
    }

    /// Where the device that the data are lies.
    pub(crate) fn data(&self) -> Window<space::Physical, space::Device> {
        self.layout.data()
    }
}
