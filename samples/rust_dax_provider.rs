// SPDX-License-Identifier: GPL-2.0

//! The smallest provider of a DAX device.
//!
//! It makes a disk with DAX of a namespace. A filesystem or another holder can use the disk. The
//! provider notifies the holder of memory failures of its page frames:
//!
//! ```sh
//! echo 0 > /sys/bus/nd/drivers_autoprobe
//! insmod rust_dax_provider.ko
//! echo namespace0.0 > /sys/bus/nd/drivers/rust_dax_provider/bind
//! ```
//!
//! A real provider, such as `daxmf_pmem`, also records the bad ranges, fails reads of them, and
//! repairs them when they are written: after a machine check, the kernel's linear map does not have
//! the page, and a write to it crashes the kernel unless the driver makes it present first.

use daxmf::{
    badblocks::Badblocks,
    block::{
        self,
        bio::{
            Bio,
            Transfer, //
        },
        disk::Config,
        Disk,
        Features, //
    },
    dax::{
        self,
        device::{
            AccessMode,
            Allocated,
            Control, //
        },
    },
    memory_failure::{
        Flags,
        Outcome, //
    },
    nvdimm::{
        self,
        Namespace, //
    },
    pagemap::{
        self,
        Access,
        Frames,
        PageMap, //
    },
    range::{
        space,
        ByteRange,
        PageRange, //
    },
};
use kernel::{
    iov::IovIterSource,
    prelude::*,
    sync::Arc, //
};

daxmf::module_nvdimm_driver! {
    type: RustDaxProvider,
    name: "rust_dax_provider",
    authors: ["The daxmf developers"],
    description: "Rust DAX provider sample",
    license: "GPL",
}

/// Notifies the holder of the device of memory failures in the page frames.
struct Failures {
    namespace: Arc<Namespace>,
    control: Control,
}

impl pagemap::Operations for Failures {
    fn memory_failure(&self, frames: Frames<'_>, flags: Flags) -> Outcome {
        let physical = frames.range().bytes();

        match physical.and_then(|bytes| self.namespace.window().inward(bytes)) {
            Some(range) => self.control.notify_failure(range, flags),
            None => Outcome::Failed(ENXIO),
        }
    }
}

/// The memory of the namespace.
#[pin_data]
struct Memory {
    #[pin]
    map: PageMap<Failures>,
    namespace: Arc<Namespace>,
}

impl dax::Operations for Memory {
    fn direct_access(
        &self,
        pages: PageRange<space::Device>,
        _mode: AccessMode,
    ) -> Result<Access<'_>> {
        self.map.access(pages)
    }

    fn zero_page_range(&self, pages: PageRange<space::Device>) -> Result {
        self.map.write_zeroes(pages)
    }

    fn recovery_write(
        &self,
        range: ByteRange<space::Device>,
        from: &mut IovIterSource<'_>,
    ) -> usize {
        self.map.write_from_iter(range, from).unwrap_or(0)
    }
}

impl Memory {
    fn transfer(&self, bio: &Bio) -> Result {
        if bio.is_preflush() {
            self.namespace.flush()?;
        }

        match bio.transfer()? {
            Some(Transfer::Read(mut to)) => {
                to.try_for_each(|segment| self.map.read(&segment, |_| ()))
            }
            Some(Transfer::Write(mut from)) => {
                from.try_for_each(|segment| self.map.write(&segment))
            }
            None => Ok(()),
        }
    }
}

impl block::Operations for Memory {
    type OwnerModule = LocalModule;

    fn submit_bio(&self, bio: Bio) {
        let result = self.transfer(&bio);

        bio.end(result);
    }
}

/// The driver's data. The DAX device is removed first, then the disk.
struct RustDaxProvider {
    _dax: dax::device::Registration<Memory>,
    _disk: block::Registration<Memory>,
}

impl nvdimm::Driver for RustDaxProvider {
    fn probe(namespace: Arc<Namespace>) -> impl PinInit<Self, Error> {
        Self::new(namespace)
    }
}

impl RustDaxProvider {
    fn new(namespace: Arc<Namespace>) -> Result<Self> {
        let bound = namespace.bound().ok_or(ENODEV)?;
        let disk = Disk::new(
            bound.sector_size(),
            Features::DAX | Features::SYNCHRONOUS | Features::WRITE_CACHE,
            bound.node(),
        )?;

        let mut dax = Allocated::new()?;
        dax.set_persistent_memory();

        let failures = Failures {
            namespace: namespace.clone(),
            control: dax.control(),
        };
        let map = PageMap::new(bound.claim()?, bound.node(), failures);
        let flushed = namespace.clone();
        let dax = dax.register(
            &disk,
            try_pin_init!(Memory {
                map <- map,
                namespace: flushed,
            }),
        )?;

        let config = Config {
            name: bound.namespace().disk_name(),
            capacity: namespace.window().inner().len(),
            badblocks: Arc::pin_init(Badblocks::new(), GFP_KERNEL)?,
        };
        let disk = block::Registration::new(bound.device(), disk, config, dax.data().clone())?;

        Ok(Self {
            _dax: dax,
            _disk: disk,
        })
    }
}
