// SPDX-License-Identifier: GPL-2.0

//! Drivers for the namespaces of non-volatile memory: the `nd` bus.
//!
//! To write a driver, implement [`Driver`] and declare the module with
//! [`module_nvdimm_driver!`](crate::module_nvdimm_driver). The nd bus binds the driver to
//! namespaces of persistent memory: raw ones, ones with labels, and ones with the info block of
//! ndctl's mode `fsdax`. A namespace of the mode `sector` gets a disk of `nd_btt`, without a call
//! of the driver. Another driver binds to a namespace of the mode `devdax`.
//!
//! C headers: [`include/linux/nd.h`](srctree/include/linux/nd.h),
//! [`include/linux/libnvdimm.h`](srctree/include/linux/libnvdimm.h),
//! [`drivers/nvdimm/nd.h`](srctree/drivers/nvdimm/nd.h)

pub mod binding;
pub mod btt;
mod claims;
pub mod driver;
mod event;
mod info_block;
pub mod namespace;

pub(crate) use self::claims::CountedClaim;

pub use self::{
    driver::{
        Adapter,
        Driver, //
    },
    event::Event,
    namespace::Namespace, //
};
