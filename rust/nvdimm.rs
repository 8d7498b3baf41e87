// SPDX-License-Identifier: GPL-2.0

//! Drivers for the namespaces of non-volatile memory: the `nd` bus.
//!
//! To write a driver, implement [`Driver`] and declare the module with
//! [`module_nvdimm_driver!`](crate::module_nvdimm_driver). The driver is bound to persistent-memory
//! namespaces, raw or described by labels.
//!
//! Unsupported: namespaces with an info block (BTT, and what ndctl calls fsdax and devdax). They
//! are refused, so that the kernel's own drivers get them.
//!
//! C headers: [`include/linux/nd.h`](srctree/include/linux/nd.h),
//! [`include/linux/libnvdimm.h`](srctree/include/linux/libnvdimm.h),
//! [`drivers/nvdimm/nd.h`](srctree/drivers/nvdimm/nd.h)

pub mod driver;
pub mod namespace;

pub use self::{
    driver::{
        Adapter,
        Driver,
        Event, //
    },
    namespace::Namespace, //
};
