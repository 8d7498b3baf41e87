// SPDX-License-Identifier: GPL-2.0

//! Images of mendfs that are damaged on purpose: for the tests of `fsck.mendfs` and of the kernel
//! module.

pub mod image;
pub mod mutation;
pub mod random;
