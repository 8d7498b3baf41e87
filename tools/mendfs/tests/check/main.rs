// SPDX-License-Identifier: GPL-2.0

//! Tests that `fsck.mendfs` finds and repairs damage, and survives every image.

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
