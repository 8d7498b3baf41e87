// SPDX-License-Identifier: GPL-2.0

//! Forwards memory failures of a device to the mapped devices above it.
//!
//! Device-mapper does not claim the DAX devices that it maps, and does not forward their memory
//! failures. This module does both for the attached devices:
//!
//! ```sh
//! mkdir -p /sys/kernel/config/daxmf_stack/pmem0/dm-0    # dm-0 is above pmem0
//! rmdir /sys/kernel/config/daxmf_stack/pmem0/dm-0
//! ```
//!
//! See `Documentation/daxmf_stack.rst`.

mod config;
mod disk;
mod graph;
mod layout;
mod lower;
mod memory;
mod node;
mod plan;
mod statistics;

use kernel::{
    configfs::Subsystem,
    prelude::*, //
};

use crate::config::Root;

module! {
    type: Stack,
    name: "daxmf_stack",
    authors: ["The daxmf developers"],
    description: "Memory-failure notification through mapped devices",
    license: "GPL",
}

#[pin_data]
struct Stack {
    #[pin]
    _config: Subsystem<Root>,
}

impl kernel::InPlaceModule for Stack {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _config <- Root::subsystem(),
        })
    }
}
