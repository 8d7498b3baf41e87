// SPDX-License-Identifier: GPL-2.0

//! Memory failures: notifies owners, and repairs bad blocks.

pub(crate) mod notify;
pub(crate) mod repair;
