// SPDX-License-Identifier: GPL-2.0

//! Safe Rust for drivers and holders of DAX devices, and for filesystems on them.
//!
//! When memory under a DAX mapping fails, the kernel has the number of a page frame. The provider
//! of the memory, a driver, translates it to a range of its DAX device. The holder of the device,
//! such as a filesystem, translates that range to ranges of files, and the kernel signals the
//! processes that map these files.
//!
//! All `unsafe` code for these steps is in this crate, which is also the module `daxmf.ko`. The
//! modules that use the crate link against its symbols.
//!
//! # A module of your own
//!
//! Copy a sample, and change the names in it:
//!
//! - For a holder of a disk or a partition, copy `samples/rust_dax_holder.rs`. It implements
//!   [`dax::Holder`].
//! - For a driver of persistent memory, copy `samples/rust_dax_provider.rs`. It implements
//!   [`nvdimm::Driver`], [`pagemap::Operations`], [`dax::Operations`] and [`block::Operations`].
//! - For a source of failures, copy `samples/rust_dax_source.rs`. It calls
//!   [`dax::Device::notify_failure()`].
//! - For a filesystem, implement [`fs::FileSystem`]. There is no sample, but `fs/mendfs` does this.
//!
//! Put the copy into a folder of its own, with this file `Kbuild`:
//!
//! ```text
//! obj-m := my_holder.o
//! rustflags-y := -L $(DAXMF)/rust --extern daxmf
//! KBUILD_EXTRA_SYMBOLS := $(DAXMF)/Module.symvers
//! ```
//!
//! In the tree of daxmf, `make modules M=FOLDER` builds daxmf and the copy. `make vm FILES=FOLDER`
//! boots a guest with the folder as `/host`. `Documentation/samples.rst` has the commands to load
//! each sample.
//!
//! # The order of calls
//!
//! A holder opens a block device ([`block::DeviceFile::open()`]), and claims its DAX device
//! ([`dax::holder::Registration::new()`]). Until the registration is dropped, the kernel calls
//! [`notify_failure()`](dax::Holder::notify_failure) with each [range](range::ByteRange) that
//! fails. The holder returns an [`Outcome`](memory_failure::Outcome).
//!
//! For each namespace, the kernel calls [`probe()`](nvdimm::Driver::probe) of the driver:
//!
//! 1. [`Disk::new()`](block::Disk::new) allocates a disk, and
//!    [`Allocated::new()`](dax::device::Allocated::new) a DAX device. The code that receives
//!    failures gets a [`Control`](dax::device::Control) of the device, to notify the holder.
//! 2. [`Bound::claim()`](nvdimm::namespace::Bound::claim) claims the memory. Put a
//!    [`PageMap`](pagemap::PageMap) of the claim into the data of the DAX device.
//! 3. [`register()`](dax::device::Allocated::register) initializes these data, which maps the
//!    memory, and registers the DAX device. From here on, failures can arrive.
//! 4. [`block::Registration::new()`] adds the disk. `probe()` returns both registrations, the DAX
//!    device in front of the disk: the unbind drops them in this order.
//!
//! The module of a filesystem contains a [`fs::Registration`]. A mount calls
//! [`new()`](fs::FileSystem::new), claims the DAX device, and calls
//! [`load()`](fs::FileSystem::load).
//!
//! # What to read next
//!
//! The modules [`dax`], [`pagemap`], [`nvdimm`], [`block`] and [`fs`] describe contexts and locks.
//! `drivers/pmem` also uses [`mapped`] (reads and writes), [`badblocks`], [`mce`] (failed reads),
//! [`work`] and [`events`] (the log). `Documentation/daxmf.rst` lists what the crate guarantees.

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

/// The data of the module `daxmf.ko`: the decoder that passes machine checks to handlers, and the
/// event log.
struct Daxmf {
    _decoder: mce::Decoder,
    _log: events::Registration,
}

impl kernel::Module for Daxmf {
    fn init(module: &'static ThisModule) -> Result<Self> {
        // SAFETY: The module loader calls `init()` once, before another module can use the crate.
        unsafe { dax::holder::init() };

        Ok(Self {
            // SAFETY: The module loader calls `init()` once, before another module can use `mce`.
            _decoder: unsafe { mce::Decoder::new() }?,
            // SAFETY: The module loader calls `init()` once, and drops `Self` when it unloads this
            // module.
            _log: unsafe { events::Registration::new(module) }?,
        })
    }
}
