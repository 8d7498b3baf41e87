// SPDX-License-Identifier: GPL-2.0

//! The interface of the crate `kernel` of Linux 7.3, for older kernels.
//!
//! It consists of the older kernel's own crate, and of additions of 7.3 that our source needs.
//! Kbuild builds it for older kernels only. It passes it to our modules under the name `kernel`, so
//! that `::kernel` in a macro of the kernel refers to it, too. So the source of our modules is
//! written for 7.3.
//!
//! [`configfs`] is the kernel's own source, in which Kbuild corrects one line.

pub mod error;
pub mod module;
pub mod module_param;
pub mod prelude;
pub mod srcu;
pub mod sync;
pub mod time;

pub use configfs_before_7_3::{
    configfs,
    configfs_attrs, //
};

// All other items are the older kernel's own.
#[doc(hidden)]
pub use kernel::*;
