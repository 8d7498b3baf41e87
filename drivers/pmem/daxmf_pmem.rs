// SPDX-License-Identifier: GPL-2.0

//! A driver for persistent memory that notifies the filesystem on it of memory failures.
//!
//! It replaces `nd_pmem` for every namespace: see `Documentation/daxmf_pmem.rst`.

mod announce;
mod bad;
mod failures;
mod found;
mod media;
mod page_set;

use daxmf::{
    block::{
        self,
        Disk,
        Features, //
    },
    dax,
    events::Source,
    mapped::Remapped,
    mce,
    nvdimm::{
        self,
        namespace::{
            Bound,
            Kind, //
        },
        Event,
        Namespace, //
    },
    pagemap::{
        self,
        Claim,
        PageMap, //
    },
    work::Worker, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

use crate::{
    announce::Announcer,
    bad::BadMemory,
    failures::Failures,
    found::{
        Finder,
        Found, //
    },
    media::{
        Media,
        Memory,
        Pages, //
    },
};

daxmf::module_nvdimm_driver! {
    type: Pmem,
    name: "daxmf_pmem",
    authors: ["The daxmf developers"],
    description: "Persistent memory with memory-failure notification",
    license: "GPL",
    // MODULE_ALIAS_ND_DEVICE() of ND_DEVICE_NAMESPACE_IO and ND_DEVICE_NAMESPACE_PMEM.
    alias: ["nd:t4*", "nd:t5*"],
}

/// The driver's data for one namespace.
struct Pmem {
    disk: PmemDisk,
    bad: Arc<BadMemory>,
    namespace: Arc<Namespace>,
}

/// The disk of a namespace.
enum PmemDisk {
    // The fields are dropped in this order:
    //
    // 1. The machine check handler and the workers. Afterwards the driver notifies neither the
    //    holder of found errors nor udev of failures.
    // 2. The DAX device. Its holder is notified of the removal while the disk still works.
    // 3. The disk. The last reference to the `Media` drops the page map, and then the `Failures`
    //    that receive the memory failures of its pages.
    Dax {
        _mce: mce::Registration,
        _found: Worker<Found>,
        _announcer: Worker<Announcer>,
        _dax: dax::device::Registration<Media<Pages>>,
        disk: block::Registration<Media<Pages>>,
        finder: Finder,
    },
    Block(block::Registration<Media<Remapped>>),
}

impl nvdimm::Driver for Pmem {
    fn probe(namespace: Arc<Namespace>) -> impl PinInit<Self, Error> {
        Self::new(namespace.clone())
            .inspect_err(|error| dev_err!(namespace.device(), "cannot set up: {error:?}\n"))
    }

    fn notify(&self, event: Event) {
        let Some(bound) = self.namespace.bound() else {
            return;
        };

        let result = match (event, &self.disk) {
            (Event::RevalidatePoison, PmemDisk::Dax { finder, .. }) => {
                finder.add_platform_errors(&bound)
            }
            (Event::RevalidatePoison, PmemDisk::Block(_)) => populate(&self.bad, &bound),
            (Event::RevalidateRegion, PmemDisk::Dax { disk, .. }) => bound.update_read_only(disk),
            (Event::RevalidateRegion, PmemDisk::Block(disk)) => bound.update_read_only(disk),
        };

        if let Err(error) = result {
            dev_err!(bound.device(), "cannot handle {event:?}: {error:?}\n");
        }
    }

    fn quiesce(&self) {
        if let Err(error) = self.namespace.flush() {
            dev_err!(self.namespace.device(), "cannot flush: {error:?}\n");
        }
    }
}

impl Pmem {
    fn new(namespace: Arc<Namespace>) -> Result<Self> {
        let bound = namespace.bound().ok_or(ENODEV)?;
        let bad = BadMemory::new(namespace.window().inner().len())?;

        // The DAX device does not exist yet, so there is no holder to notify.
        populate(&bad, &bound)?;

        let disk = match namespace.kind() {
            Kind::PaddedPfn => {
                dev_warn!(bound.device(), "padded at its start, so it gets no DAX\n");
                PmemDisk::without_dax(&namespace, &bound, &bad)
            }
            kind => match PmemDisk::with_dax(&namespace, &bound, &bad) {
                Err(error) if kind == Kind::Raw && error != EBUSY => {
                    warn_of_no_dax(&namespace, error);
                    PmemDisk::without_dax(&namespace, &bound, &bad)
                }
                disk => disk,
            },
        }?;
        drop(bound);

        Ok(Self {
            disk,
            bad,
            namespace,
        })
    }
}

impl PmemDisk {
    /// Makes a disk with DAX.
    fn with_dax(
        namespace: &Arc<Namespace>,
        bound: &Bound<'_>,
        bad: &Arc<BadMemory>,
    ) -> Result<Self> {
        let features = features(bound) | Features::DAX;
        let disk = Disk::new(bound.sector_size(), features, bound.node())?;
        let mut dax = dax::device::Allocated::new()?;

        dax.set_persistent_memory();
        dax.control().set_write_cache(bound.has_cache());
        if bound.is_synchronous() {
            dax.set_synchronous();
        }

        let announcer = Worker::new(Announcer::new())?;
        let found = Worker::new(Found::new(
            namespace.clone(),
            dax.control(),
            bad.clone(),
            announcer.handle(),
        ))?;
        let finder = Finder::new(found.handle());
        let failures = Failures::new(
            namespace.clone(),
            dax.control(),
            bad.clone(),
            finder.clone(),
            announcer.handle(),
        );
        let pages = PageMap::new(claim(bound)?, bound.node(), failures);
        let dax = dax.register(&disk, Media::new(namespace.clone(), bad.clone(), pages))?;
        let handler = Arc::new(finder.clone(), GFP_KERNEL)?;
        let mce = mce::Registration::new(namespace.window().outer(), handler)?;
        let disk = register(bound, disk, bad, dax.data().clone())?;

        announcer.handle().announce_on(disk.reference());
        Ok(Self::Dax {
            _mce: mce,
            _found: found,
            _announcer: announcer,
            _dax: dax,
            disk,
            finder,
        })
    }

    /// Makes a disk without DAX, of memory without page frames.
    fn without_dax(
        namespace: &Arc<Namespace>,
        bound: &Bound<'_>,
        bad: &Arc<BadMemory>,
    ) -> Result<Self> {
        let disk = Disk::new(bound.sector_size(), features(bound), bound.node())?;
        let memory = Remapped::new(claim(bound)?);
        let media = Media::new(namespace.clone(), bad.clone(), memory);
        let media = Arc::pin_init(media, GFP_KERNEL)?;

        register(bound, disk, bad, media).map(Self::Block)
    }
}

/// Claims the memory of a namespace.
fn claim(bound: &Bound<'_>) -> Result<Claim> {
    bound
        .claim()
        .inspect_err(|_| dev_err!(bound.device(), "memory is in use, see /proc/iomem\n"))
}

/// Makes the disk of a namespace visible.
fn register<M: Memory>(
    bound: &Bound<'_>,
    disk: Disk,
    bad: &BadMemory,
    media: Arc<Media<M>>,
) -> Result<block::Registration<Media<M>>> {
    let config = block::disk::Config {
        name: bound.namespace().disk_name(),
        capacity: bound.namespace().window().inner().len(),
        badblocks: bad.list().clone(),
    };
    let disk = block::Registration::new(bound.device(), disk, config, media)?;

    bound.update_read_only(&disk)?;
    Ok(disk)
}

/// Warns that a raw namespace has no DAX, with the reason.
fn warn_of_no_dax(namespace: &Namespace, error: Error) {
    let range = namespace.window().outer();
    let align = pagemap::alignment();

    if range.is_aligned(align) {
        dev_warn!(
            namespace.device(),
            "gets no page frames ({error:?}), so no DAX\n"
        );
    } else {
        dev_warn!(
            namespace.device(),
            "gets no DAX: start {:#x} and size {:#x} must be multiples of {align:#x}, \
             see ndctl create-namespace --align\n",
            range.start(),
            range.len()
        );
    }
}

/// Adds the bad ranges of the platform, without notifying a holder.
fn populate(bad: &BadMemory, bound: &Bound<'_>) -> Result {
    bad.populate(
        |range, list| bound.populate_badblocks(range, list),
        |pages| found::record_found(bound.namespace(), pages, Source::Platform),
    )
}

/// The features of a namespace's disk, without [`Features::DAX`].
fn features(bound: &Bound<'_>) -> Features {
    let features = Features::SYNCHRONOUS | Features::WRITE_CACHE;

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
