// SPDX-License-Identifier: GPL-2.0

//! The smallest holder of a DAX device.
//!
//! The module claims the device that the parameter `device` names, a disk or a partition, until the
//! module is unloaded. The kernel notifies the module of memory failures in that disk or partition:
//!
//! ```sh
//! insmod rust_dax_holder.ko device=/dev/pmem0p1
//! cat /sys/kernel/debug/rust_dax_holder/notified
//! ```
//!
//! A real holder finds the owners of the failed range, and declines the failure if it cannot find
//! them.

use daxmf::{
    block::DeviceFile,
    dax::{
        holder::{
            Recipients,
            Registration, //
        },
        Holder, //
    },
    memory_failure::{
        Flags,
        Outcome,
        Reason, //
    },
    range::{
        space,
        ByteRange, //
    },
};
use kernel::{
    debugfs::{
        Dir,
        File, //
    },
    error::to_result,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
    time::{
        delay::fsleep,
        Delta, //
    },
};

module! {
    type: RustDaxHolder,
    name: "rust_dax_holder",
    authors: ["The daxmf developers"],
    description: "Rust DAX holder sample",
    license: "GPL",
    params: {
        answer: i32 {
            default: 0,
            description: "0 to handle a failure, 1 to decline it, an errno such as -5 to fail",
        },
        delay_ms: u32 {
            default: 0,
            description: "how long the callback takes, in milliseconds",
        },
    },
}

daxmf::string_param! {
    device: 64, "path of the block device to claim"
}

/// Counts the notifications.
struct Counter {
    notified: Atomic<u64>,
}

impl Holder for Counter {
    fn notify_failure(&self, range: ByteRange<space::Volume>, flags: Flags) -> Outcome {
        pr_info!(
            "memory failure at offset {:#x} length {:#x} flags {:#x}\n",
            range.start(),
            range.len(),
            flags.as_raw()
        );
        fsleep(Delta::from_millis(
            module_parameters::delay_ms.value().into(),
        ));
        self.notified.fetch_add(1, Relaxed);
        pr_info!("memory failure handled\n");
        match module_parameters::answer.value() {
            1 => Outcome::Declined(Reason::NotSupported),
            errno => to_result(errno).into(),
        }
    }

    fn notify_found(
        &self,
        range: ByteRange<space::Volume>,
        _recipients: Recipients,
    ) -> Option<Outcome> {
        Some(self.notify_failure(range, Flags::NONE))
    }
}

#[pin_data]
struct RustDaxHolder {
    _registration: Registration<Counter>,
    #[pin]
    _notified: File<Arc<Counter>>,
    _debugfs: Dir,
}

impl kernel::InPlaceModule for RustDaxHolder {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _debugfs: Dir::new(c"rust_dax_holder"),
            _registration: claim(device.value())?,
            _notified <- _debugfs.read_callback_file(
                c"notified",
                _registration.holder().clone(),
                &|counter: &Arc<Counter>, f| writeln!(f, "{}", counter.notified.load(Relaxed)),
            ),
        })
    }
}

/// Claims the DAX device of the block device at `path`.
fn claim(path: &CStr) -> Result<Registration<Counter>> {
    let counter = Counter {
        notified: Atomic::new(0),
    };

    DeviceFile::open(path)
        .and_then(|file| Registration::new(&file, Arc::new(counter, GFP_KERNEL)?))
        .inspect_err(|error| pr_err!("device={path:?} cannot be held: {error:?}\n"))
}
