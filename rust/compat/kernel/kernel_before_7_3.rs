// SPDX-License-Identifier: GPL-2.0

//! The interface of the crate `kernel` of Linux 7.3, for older kernels.
//!
//! This crate consists of the older kernel's own crate, and of the additions of 7.3 that the source
//! of daxmf needs. Kbuild builds it for older kernels only, and passes it to the modules under the
//! name `kernel`. So the source of the modules is written for 7.3, and `::kernel` in a macro of the
//! kernel means this crate, too.
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
