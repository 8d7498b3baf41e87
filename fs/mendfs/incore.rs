// SPDX-License-Identifier: GPL-2.0

//! The state of a mounted filesystem in memory: the data that readers see, and the free blocks.

pub(crate) mod allocator;
pub(crate) mod bad_blocks;
pub(crate) mod bitmap;
pub(crate) mod free_space;
pub(crate) mod inode;
pub(crate) mod nodes;
pub(crate) mod owners;
pub(crate) mod position;
pub(crate) mod readers;
pub(crate) mod repairs;
pub(crate) mod table;
pub(crate) mod view;
