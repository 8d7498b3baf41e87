// SPDX-License-Identifier: GPL-2.0

//! How a mounted filesystem changes, whatever the operation.

pub(crate) mod bad_pairs;
pub(crate) mod commit;
pub(crate) mod failed;
pub(crate) mod release;
pub(crate) mod room;
pub(crate) mod state;
pub(crate) mod superblock;
