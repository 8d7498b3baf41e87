// SPDX-License-Identifier: GPL-2.0

//! The crate `kernel` as Linux 7.3 has it, for kernels before that.
//!
//! It is that kernel's own crate with what 7.3 added to it, as far as our source needs it. Kbuild
//! builds it for such kernels only, and our modules get it under the name `kernel`, also where a
//! macro of the kernel says `::kernel`. So the source of our modules is written for 7.3.
//!
//! [`configfs`] is of the kernel's own source, too, with one line corrected by Kbuild.

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

// What is not named here is that kernel's own.
#[doc(hidden)]
pub use kernel::*;
