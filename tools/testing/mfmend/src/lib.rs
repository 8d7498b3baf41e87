// SPDX-License-Identifier: GPL-2.0

//! Damaged images of mendfs for the tests of `fsck.mendfs` and of the kernel module.

pub mod image;
pub mod mutation;
pub mod random;
