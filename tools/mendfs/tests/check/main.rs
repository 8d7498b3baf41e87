// SPDX-License-Identifier: GPL-2.0

//! Checks that damage is found and repaired, and that no image does harm.

mod chunks;
mod copies;
mod findings;
mod full_metadata;
mod images;
mod journal;
mod mutations;
mod records;
mod superblocks;
mod tree;
