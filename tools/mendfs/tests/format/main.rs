// SPDX-License-Identifier: GPL-2.0

//! Property tests of `fs/mendfs/format/`: structures are read as they were written, and reading
//! arbitrary bytes does not panic.

mod chunks;
mod geometry;
mod headers;
mod records;
mod strategies;
mod superblocks;
mod transactions;
