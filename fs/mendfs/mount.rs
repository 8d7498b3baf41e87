// SPDX-License-Identifier: GPL-2.0

//! Mounts a filesystem: recovers the journal, reads all metadata, and checks it.

pub(crate) mod load;
pub(crate) mod orphans;
pub(crate) mod records;
pub(crate) mod recover;
pub(crate) mod tree;
pub(crate) mod usage;
