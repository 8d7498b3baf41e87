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
    nvdimm::CountedClaim,
    range::{
        space,
        Window, //
    },
};

use super::Layout;

/// A claim of physical memory for one driver. The drop releases the memory, and the namespace of
/// the memory stays bound until then.
///
/// See [`Bound::claim()`](crate::nvdimm::namespace::Bound::claim).
// The order of the fields matters: the drop releases `_region` first. So the memory is unused when
// the drop of `_claimed` ends the wait of the unbind.
pub struct Claim {
    _region: Region,
    _claimed: CountedClaim,
    pub(super) layout: Layout,
}

impl Claim {
    /// Claims memory. `/proc/iomem` shows it as `name`.
    ///
    /// # Errors
    ///
    /// - `EBUSY` if the memory, or a part of it, is in use.
    pub(crate) fn new(layout: Layout, name: CString, claimed: CountedClaim) -> Result<Self> {
        // SAFETY: `iomem_resource` is the static root of all memory resources. `Resource` is a
        // transparent wrapper of `struct resource`.
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

    /// The position of the device in physical memory. The device consists of the data.
    pub(crate) fn data(&self) -> Window<space::Physical, space::Device> {
        self.layout.data()
    }
}
