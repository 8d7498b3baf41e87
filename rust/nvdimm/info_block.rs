// SPDX-License-Identifier: GPL-2.0

//! The info blocks of namespaces.
//!
//! Reference: [`drivers/nvdimm/pfn_devs.c`](srctree/drivers/nvdimm/pfn_devs.c)

use kernel::{
    device::{
        CoreInternal,
        Device, //
    },
    error::to_result,
    prelude::*, //
};

use crate::{
    bindings,
    pagemap::Layout,
    range::{
        space,
        ByteRange, //
    },
};

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
pub(super) unsafe fn memory_of(
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
pub(super) fn find_info_block(
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
pub(super) unsafe fn read_info_block(
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
