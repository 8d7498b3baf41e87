// SPDX-License-Identifier: GPL-2.0

//! Drivers for the namespaces of non-volatile memory: the `nd` bus.
//!
//! To write a driver, implement [`Driver`] and declare the module with
//! [`module_nvdimm_driver!`](crate::module_nvdimm_driver). The driver is bound to persistent-memory
//! namespaces: raw, described by labels, or with an info block that ndctl calls fsdax. Those that
//! it calls sector become disks of `nd_btt`. Those that it calls devdax are left to the driver for
//! them.
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

pub(crate) use self::claims::Claimed;

pub use self::{
    driver::{
        Adapter,
        Driver, //
    },
    event::Event,
    namespace::Namespace, //
};
