// SPDX-License-Identifier: GPL-2.0

//! What the source of a module has in scope.

pub use crate::{
    error::code::*,
    time::DeltaExt as _, //
};
pub use kernel::prelude::*;
