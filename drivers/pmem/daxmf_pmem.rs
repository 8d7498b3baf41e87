// SPDX-License-Identifier: GPL-2.0

//! A driver for persistent memory whose failures reach the filesystem on it.
//!
//! It takes the place of `nd_pmem` on a raw or labelled namespace: see
//! `Documentation/daxmf_pmem.rst`.

mod bad;
mod failures;
mod media;
mod page_set;

use daxmf::{
    block::{
        self,
        Disk,
        Features, //
    },
    dax,
    nvdimm::{
        self,
        namespace::Bound,
        Event,
        Namespace, //
    },
    pagemap, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

use crate::{
    bad::BadMemory,
    failures::Failures,
    media::Media, //
};

daxmf::module_nvdimm_driver! {
    type: Pmem,
    name: "daxmf_pmem",
    authors: ["The daxmf developers"],
    description: "Persistent memory with memory-failure notification",
    license: "GPL",
}

/// The driver's data for one namespace.
// The fields are dropped in this order. The holder is told while the disk still works, then the
// disk goes. With the last user of the media the pages go, and with the pages their failures.
struct Pmem {
    _dax: dax::device::Registration<Media>,
    disk: block::Registration<Media>,
    namespace: Arc<Namespace>,
}

impl nvdimm::Driver for Pmem {
    fn probe(namespace: Arc<Namespace>) -> impl PinInit<Self, Error> {
        check_alignment(&namespace)?;

        Self::new(namespace.clone())
            .inspect_err(|error| dev_err!(namespace.device(), "cannot be set up: {error:?}\n"))
    }

    fn notify(&self, event: Event) {
        let Some(bound) = self.namespace.bound() else {
            return;
        };

        let result = match event {
            Event::RevalidatePoison => populate(self.disk.data().bad(), &bound),
            Event::RevalidateRegion => bound.update_read_only(&self.disk),
        };

        if let Err(error) = result {
            dev_err!(bound.device(), "cannot follow {event:?}: {error:?}\n");
        }
    }

    fn quiesce(&self) {
        if let Err(error) = self.disk.data().flush() {
            dev_err!(self.namespace.device(), "cannot be flushed: {error:?}\n");
        }
    }
}

impl Pmem {
    fn new(namespace: Arc<Namespace>) -> Result<Self> {
        let bound = namespace.bound().ok_or(ENODEV)?;
        let claim = bound.claim().inspect_err(|_| {
            dev_err!(bound.device(), "memory is in use, see /proc/iomem\n");
        })?;
        let bad = BadMemory::new(namespace.window().inner().len())?;
        populate(&bad, &bound)?;

        let disk = Disk::new(bound.sector_size(), features(&bound), bound.node())?;
        let mut dax = dax::device::Allocated::new()?;

        dax.set_persistent_memory();
        dax.control().set_write_cache(bound.has_cache());
        if bound.is_synchronous() {
            dax.set_synchronous();
        }

        let failures = Failures::new(namespace.clone(), dax.control(), bad.clone());
        let media = Media::new(namespace.clone(), claim, bound.node(), failures);
        let dax = dax.register(&disk, media)?;

        let config = block::disk::Config {
            name: &bound.disk_name()?,
            capacity: namespace.window().inner().len(),
            badblocks: bad.list().clone(),
        };
        let disk = block::Registration::new(bound.device(), disk, config, dax.data().clone())?;

        bound.update_read_only(&disk)?;
        drop(bound);

        Ok(Self {
            _dax: dax,
            disk,
            namespace,
        })
    }
}

/// Checks that all of a namespace can be mapped with page frames.
fn check_alignment(namespace: &Namespace) -> Result {
    let range = namespace.window().outer();
    let align = pagemap::alignment();

    if range.is_aligned(align) {
        return Ok(());
    }

    dev_err!(
        namespace.device(),
        "start {:#x} and size {:#x} must be multiples of {:#x}, see ndctl create-namespace --align\n",
        range.start(),
        range.len(),
        align
    );
    Err(EINVAL)
}

/// Enters what the platform knows to be bad.
fn populate(bad: &BadMemory, bound: &Bound<'_>) -> Result {
    bad.populate(|range, list| bound.populate_badblocks(range, list))
}

/// What the disk of a namespace can do.
fn features(bound: &Bound<'_>) -> Features {
    let features = Features::DAX | Features::SYNCHRONOUS | Features::WRITE_CACHE;

    match bound.has_flush() {
        Some(true) => features | Features::FUA,
        Some(false) => features,
        None => {
            dev_warn!(
                bound.device(),
                "unable to guarantee persistence of writes\n"
            );
            features
        }
    }
}
