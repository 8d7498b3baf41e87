// SPDX-License-Identifier: GPL-2.0

//! Changes of a mounted filesystem: the parts that operations share.

pub(crate) mod bad_pairs;
pub(crate) mod commit;
pub(crate) mod failed;
pub(crate) mod release;
pub(crate) mod room;
pub(crate) mod state;
pub(crate) mod superblock;
