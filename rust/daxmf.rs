// SPDX-License-Identifier: GPL-2.0

//! Abstractions for the DAX memory-failure chain.
//!
//! When memory under a DAX mapping goes bad, the kernel knows a page frame. On the way to those who
//! must act it becomes a range of a device, then of a file. This crate has the stations of that
//! way as safe types:
//!
//! - [`pagemap`]: memory with page frames, whose [`memory_failure()`] callback starts the way.
//! - [`dax`]: the DAX device that the memory belongs to, and the holder that is told.
//! - [`memory_failure`]: flags, outcomes and counters of a failure, and the signals to processes.
//! - [`events`]: the log of all of it, for userspace.
//! - [`range`]: the arithmetic on the way, without a kernel.
//!
//! A provider of memory also needs [`nvdimm`] (namespace drivers), [`mapped`] (its reads and
//! writes), [`block`] (disks) and [`badblocks`]. It learns of failed reads from [`mce`] (records of
//! machine checks), and takes its time with them in [`work`] (work items).
//!
//! A consumer that owns files in the memory needs [`fs`], [`wait`] for what takes its time there,
//! and [`single_writer`] for those who need not wait.
//!
//! All `unsafe` code of the project is in this crate. It is a module of its own, `daxmf.ko`; the
//! modules that use it link against its symbols.
//!
//! [`memory_failure()`]: pagemap::Operations::memory_failure

pub mod badblocks;
mod bindings;
pub mod block;
mod compat;
pub mod crc32c;
pub mod dax;
pub mod events;
pub mod fs;
pub mod interval_tree;
pub mod mapped;
pub mod mce;
pub mod memory_failure;
pub mod module_param;
pub mod numa;
pub mod nvdimm;
pub mod pagemap;
pub mod range;
pub mod single_writer;
pub mod siphash;
mod sysfs;
pub mod wait;
pub mod work;

use kernel::prelude::*;

module! {
    type: Daxmf,
    name: "daxmf",
    authors: ["The daxmf developers"],
    description: "Rust abstractions for the DAX memory-failure chain",
    license: "GPL",
}

/// The library module is loaded for its symbols. Machine checks reach those who use it through it.
struct Daxmf {
    _decoder: mce::Decoder,
    _log: events::Registration,
}

impl kernel::Module for Daxmf {
    fn init(module: &'static ThisModule) -> Result<Self> {
        // SAFETY: A module is initialized once, before its symbols can be used.
        unsafe { dax::holder::init() };

        Ok(Self {
            // SAFETY: As above.
            _decoder: unsafe { mce::Decoder::new() }?,
            // SAFETY: As above.
            _log: unsafe { events::Registration::new(module) }?,
        })
    }
}
