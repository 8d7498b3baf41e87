// SPDX-License-Identifier: GPL-2.0

//! The smallest provider of memory with page frames.
//!
//! It claims the physical memory that the parameters `start` and `size` name, until it is unloaded,
//! and is told when one of its page frames fails:
//!
//! ```sh
//! # The memory of a namespace that no driver is bound to.
//! cd /sys/bus/nd/devices/namespace0.0
//! insmod rust_dax_provider.ko start=$(($(cat resource))) size=$(cat size)
//! cat /sys/kernel/debug/rust_dax_provider/received
//! ```
//!
//! A real provider goes on with [`daxmf::dax`] and [`daxmf::block`], as `daxmf_pmem` does, so that
//! a filesystem can use the memory and be told in turn.

use daxmf::{
    memory_failure::{
        Counters,
        Flags,
        Outcome,
        Reason, //
    },
    pagemap::{
        self,
        Frames,
        Operations,
        PageMap, //
    },
    range::ByteRange, //
};
use kernel::{
    debugfs::{
        Dir,
        File, //
    },
    prelude::*,
    str::CString,
    sync::Arc, //
};

module! {
    type: RustDaxProvider,
    name: "rust_dax_provider",
    authors: ["The daxmf developers"],
    description: "Rust DAX provider sample",
    license: "GPL",
    params: {
        start: u64 {
            default: 0,
            description: "physical address of the memory",
        },
        size: u64 {
            default: 0,
            description: "size of the memory in bytes",
        },
    },
}

/// Counts the failures, and leaves them to the kernel.
struct Failures(Arc<Counters>);

impl Operations for Failures {
    fn memory_failure(&self, frames: Frames<'_>, flags: Flags) -> Outcome {
        pr_info!(
            "memory failure at frame {:#x} count {:#x} flags {:#x}\n",
            frames.range().first(),
            frames.range().count(),
            flags.as_raw()
        );
        self.0.count(|| Outcome::Declined(Reason::NoHolder))
    }
}

#[pin_data]
struct RustDaxProvider {
    #[pin]
    _map: PageMap<Failures>,
    #[pin]
    _received: File<Arc<Counters>>,
    _debugfs: Dir,
}

impl kernel::InPlaceModule for RustDaxProvider {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        let counters = Arc::new(Counters::new(), GFP_KERNEL);

        try_pin_init!(Self {
            _debugfs: Dir::new(c"rust_dax_provider"),
            _received <- _debugfs.read_callback_file(
                c"received",
                counters?,
                &|counters: &Arc<Counters>, f| writeln!(f, "{}", counters.received()),
            ),
            _map <- map((**_received).clone())?,
        })
    }
}

/// Maps the memory that the parameters name.
fn map(counters: Arc<Counters>) -> Result<impl PinInit<PageMap<Failures>, Error>> {
    let start = module_parameters::start.value();
    let size = module_parameters::size.value();
    let align = pagemap::alignment();

    let range = ByteRange::new(start, size)
        .filter(|range| range.is_aligned(align))
        .ok_or(EINVAL)
        .inspect_err(|_| pr_err!("start and size must be multiples of {align:#x}\n"))?;

    let region = pagemap::claim(range, CString::try_from_fmt(fmt!("rust_dax_provider"))?)
        .inspect_err(|_| pr_err!("{start:#x} size {size:#x} is in use, see /proc/iomem\n"))?;

    Ok(PageMap::new(region, pagemap::ANY_NODE, Failures(counters)))
}
