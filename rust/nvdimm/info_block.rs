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

/// The number of bytes at the start of a namespace that can contain info blocks.
///
/// C: `nd_info_block_reserve()`
const INFO_BLOCK_RESERVE: u64 = 8192;

/// Returns the physical addresses of a whole namespace.
///
/// # Errors
///
/// - `EINVAL` if the namespace has none.
///
/// # Safety
///
/// `namespace` must be valid, and of a type that a driver can be bound to.
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

/// Maps the info block of a namespace until `devm_namespace_disable()`, or until the device is
/// unbound.
///
/// # Errors
///
/// - `EBUSY` if the memory is in use.
/// - `ENOMEM` if memory is short.
///
/// # Safety
///
/// `raw` must be the valid device that is being probed. `namespace` must be the namespace of the
/// device, or the one that it has claimed.
unsafe fn enable(
    device: &Device<CoreInternal<'_>>,
    raw: *mut bindings::device,
    namespace: *mut bindings::nd_namespace_common,
) -> Result {
    // SAFETY: Both are valid, and the device is being probed, by the safety requirements.
    to_result(unsafe { bindings::devm_namespace_enable(raw, namespace, INFO_BLOCK_RESERVE) })
        .inspect_err(|error| {
            dev_err!(
                device,
                "cannot be read: {error:?}, /proc/iomem shows whether it is in use\n"
            )
        })
}

/// Checks that a namespace has no info block at its start, so that it is raw.
///
/// # Errors
///
/// - `ENXIO` if it has an info block. The nd bus has created a device for it, which it probes next.
/// - `EOPNOTSUPP` if it has an info block that this kernel cannot use.
/// - `EBUSY` if the memory is in use.
/// - `ENOMEM` if memory is short.
///
/// # Safety
///
/// `raw` must be the valid device of `namespace`, and must be being probed.
pub(super) unsafe fn check_no_info_block(
    device: &Device<CoreInternal<'_>>,
    raw: *mut bindings::device,
    namespace: *mut bindings::nd_namespace_common,
) -> Result {
    // SAFETY: `raw` is the device of `namespace` and is being probed, by the safety requirements.
    unsafe { enable(device, raw, namespace) }?;

    for probe in [
        bindings::nd_btt_probe,
        bindings::nd_pfn_probe,
        bindings::nd_dax_probe,
    ] {
        // SAFETY: `raw` is being probed, and `enable()` has enabled its valid namespace.
        match to_result(unsafe { probe(raw, namespace) }) {
            Ok(()) => return Err(ENXIO),
            Err(EOPNOTSUPP) => {
                dev_err!(device, "has an info block that this kernel cannot use\n");
                return Err(EOPNOTSUPP);
            }
            // `probe()` has not read the namespace, so there may be an info block.
            Err(ENOMEM) => return Err(ENOMEM),
            // The namespace has no info block of this kind.
            Err(_) => (),
        }
    }

    // SAFETY: `enable()` has enabled the namespace for `raw`.
    unsafe { bindings::devm_namespace_disable(raw, namespace) };
    Ok(())
}

/// Reads the info block of an `fsdax` namespace, or writes one if the namespace has none.
///
/// # Errors
///
/// - `ENXIO` if the info block cannot be read or written.
/// - `EINVAL` if the info block is invalid, or if the namespace cannot have one.
/// - `EOPNOTSUPP` if the info block does not match the device, or if this kernel cannot use it.
/// - `EBUSY` if the memory is in use.
/// - `ENOMEM` if memory is short.
///
/// # Safety
///
/// `raw` must be the device of a `struct nd_pfn` that is being probed. `namespace` must be the
/// namespace that it has claimed.
pub(super) unsafe fn read_info_block(
    device: &Device<CoreInternal<'_>>,
    raw: *mut bindings::device,
    namespace: *mut bindings::nd_namespace_common,
) -> Result<Layout> {
    // SAFETY: `raw` is being probed and has claimed `namespace`, by the safety requirements.
    unsafe { enable(device, raw, namespace) }?;

    // SAFETY: `layout_of()` has the safety requirements of this function, and `enable()` has
    // enabled the namespace.
    let layout = unsafe { layout_of(raw, namespace) }.inspect_err(|error| {
        dev_err!(device, "info block cannot be used: {error:?}\n");
    })?;

    // SAFETY: `enable()` has enabled the namespace for `raw`, and `nvdimm_setup_pfn()` does not
    // disable it.
    unsafe { bindings::devm_namespace_disable(raw, namespace) };
    Ok(layout)
}

/// Returns the layout in the info block of an `fsdax` namespace.
///
/// # Errors
///
/// The errors of [`read_info_block()`] except `EBUSY`.
///
/// # Safety
///
/// The safety requirements of [`read_info_block()`]. In addition, `namespace` must be enabled.
unsafe fn layout_of(
    raw: *mut bindings::device,
    namespace: *mut bindings::nd_namespace_common,
) -> Result<Layout> {
    // SAFETY: All fields of a `struct dev_pagemap` may be zero.
    let mut pgmap = unsafe { core::mem::zeroed::<bindings::dev_pagemap>() };

    // SAFETY: `raw` is the device of a `struct nd_pfn` whose namespace is enabled, by the safety
    // requirements. The flags of `pgmap` are 0, because `nvdimm_setup_pfn()` only adds flags.
    let data_offset = unsafe {
        let pfn = bindings::to_nd_pfn(raw);

        to_result(bindings::nvdimm_setup_pfn(pfn, &mut pgmap))?;
        // Copy the value: the kernel frees `pfn_sb` when the device is unbound.
        u64::from_le((*(*pfn).pfn_sb).dataoff)
    };

    // SAFETY: `nvdimm_setup_pfn()` has set `range`, the union's field for a single range.
    let mapped = unsafe { *pgmap.__bindgen_anon_1.range.as_ref() };
    let mapped = mapped
        .end
        .checked_add(1)
        .and_then(|end| ByteRange::between(mapped.start, end))
        .ok_or(EINVAL)?;
    let altmap = (pgmap.flags & bindings::PGMAP_ALTMAP_VALID != 0).then_some(pgmap.altmap);
    // SAFETY: By the safety requirements, `namespace` is valid, and a driver is being bound to its
    // `struct nd_pfn`.
    let memory = unsafe { memory_of(namespace) }?;

    // `nvdimm_setup_pfn()` does not check all fields of the info block.
    Layout::new(memory, mapped, data_offset, altmap).ok_or(EINVAL)
}
