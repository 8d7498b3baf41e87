// SPDX-License-Identifier: GPL-2.0

//! What a mounted filesystem keeps in memory: what readers see, and which blocks are free.

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
