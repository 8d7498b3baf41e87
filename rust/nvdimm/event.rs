// SPDX-License-Identifier: GPL-2.0

//! Events of a namespace, which the nd bus sends to the driver.
//!
//! C header: [`include/linux/nd.h`](srctree/include/linux/nd.h)

use kernel::prelude::*;

use crate::bindings;

/// An event of a namespace.
///
/// C: `enum nvdimm_event`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The platform's list of errors may have grown, see
    /// [`Bound::populate_badblocks()`](super::namespace::Bound::populate_badblocks).
    RevalidatePoison,
    /// The region may have become read-only, or writable.
    RevalidateRegion,
}

impl TryFrom<bindings::nvdimm_event> for Event {
    type Error = Error;

    fn try_from(event: bindings::nvdimm_event) -> Result<Self> {
        match event {
            bindings::nvdimm_event_NVDIMM_REVALIDATE_POISON => Ok(Self::RevalidatePoison),
            bindings::nvdimm_event_NVDIMM_REVALIDATE_REGION => Ok(Self::RevalidateRegion),
            _ => Err(EINVAL),
        }
    }
}
