// SPDX-License-Identifier: GPL-2.0

//! Abstractions for the DAX memory-failure chain.
//!
//! When memory under a DAX mapping fails, the kernel has the number of a page frame. The chain
//! translates it to a range of a device, and a filesystem translates that to ranges of files. This
//! crate has safe types for each step:
//!
//! - [`pagemap`]: memory with page frames. The kernel calls its [`memory_failure()`] first.
//! - [`dax`]: the DAX device that the memory belongs to, and the holder that is notified.
//! - [`memory_failure`]: flags, outcomes and counters of failures, and signals to processes.
//! - [`events`]: the log of memory failures, for userspace.
//! - [`range`]: the arithmetic of ranges. It does not need the kernel.
//!
//! A provider of memory also needs [`nvdimm`] (namespace drivers), [`mapped`] (reads and writes of
//! the memory), [`block`] (disks) and [`badblocks`]. [`mce`] (records of machine checks) notifies
//! the provider of failed reads, which it handles in [`work`] (work items).
//!
//! A consumer that stores files in the memory needs [`fs`], [`wait`] (killable waits) and
//! [`single_writer`] (values that their writer reads without a lock).
//!
//! All `unsafe` code of the project is in this crate. It is the module `daxmf.ko`. The modules that
//! use it link against its symbols.
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

/// The library module. It also owns the decoder that passes machine checks to the modules, and the
/// event log.
struct Daxmf {
    _decoder: mce::Decoder,
    _log: events::Registration,
}

impl kernel::Module for Daxmf {
    fn init(module: &'static ThisModule) -> Result<Self> {
        // SAFETY: The module loader calls this once, before another module can use our symbols.
        unsafe { dax::holder::init() };

        Ok(Self {
            // SAFETY: The module loader calls this once, before another module can use `mce`.
            _decoder: unsafe { mce::Decoder::new() }?,
            // SAFETY: The module loader calls this once, and drops `Self` when it unloads us.
            _log: unsafe { events::Registration::new(module) }?,
        })
    }
}
