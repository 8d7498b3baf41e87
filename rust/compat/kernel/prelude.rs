// SPDX-License-Identifier: GPL-2.0

//! The prelude: items that each source file of a module imports.

pub use crate::{
    error::code::*,
    time::DeltaExt as _, //
};
pub use kernel::prelude::*;
