// SPDX-License-Identifier: GPL-2.0

//! Checks `fs/mendfs/format/`: what is written is read, and anything can be read.

mod chunks;
mod geometry;
mod headers;
mod records;
mod strategies;
mod superblocks;
mod transactions;
