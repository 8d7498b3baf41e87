// SPDX-License-Identifier: GPL-2.0

//! The smallest source of memory failures.
//!
//! When it is loaded, it notifies the holder of a DAX device that a range of the device failed. The
//! range can have any start and length in bytes, while the kernel's own sources report whole pages
//! only. The failure is simulated, so the memory stays good:
//!
//! ```sh
//! insmod rust_dax_source.ko device=/dev/pmem0 start=0x200000 size=0x300000
//! rmmod rust_dax_source
//! ```
//!
//! The module stays loaded if the outcome is delivered. Otherwise loading fails with the errno of
//! the outcome.

use daxmf::{
    block::DeviceFile,
    dax::Device,
    memory_failure::Flags,
    range::ByteRange, //
};
use kernel::prelude::*;

module! {
    type: RustDaxSource,
    name: "rust_dax_source",
    authors: ["The daxmf developers"],
    description: "Rust DAX failure source sample",
    license: "GPL",
    params: {
        start: u64 {
            default: 0,
            description: "offset of the first byte that fails, from the start of the whole device",
        },
        size: u64 {
            default: 4096,
            description: "number of bytes that fail",
        },
    },
}

daxmf::string_param! {
    device: 64, "path of the block device whose memory fails"
}

struct RustDaxSource;

impl kernel::Module for RustDaxSource {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let path = device.value();
        let start = module_parameters::start.value();
        let size = module_parameters::size.value();

        let range = ByteRange::new(start, size)
            .ok_or(EINVAL)
            .inspect_err(|_| pr_err!("start={start:#x} size={size:#x} is not a range\n"))?;
        let found = DeviceFile::open(path)
            .and_then(|file| Device::of(&file))
            .inspect_err(|error| {
                pr_err!("device={path:?}: cannot open its DAX device: {error:?}\n")
            })?;

        let outcome = found.notify_failure(range, Flags::SW_SIMULATED);

        pr_info!("device={path:?} start={start:#x} size={size:#x}: {outcome}\n");
        outcome.into_result().map(|()| Self)
    }
}
