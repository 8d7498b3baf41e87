// SPDX-License-Identifier: GPL-2.0

//! The devices below.

use daxmf::{
    block::DeviceFile,
    dax::{
        holder::Registration,
        Holder, //
    },
    memory_failure::{
        Counters,
        Flags,
        Outcome, //
    },
    range::ByteRange, //
};
use kernel::{
    prelude::*,
    str::CString,
    sync::{
        new_mutex,
        Arc,
        Mutex, //
    },
};

use crate::{
    edges::{
        Edge,
        Edges, //
    },
    memory::Mapping,
    upper::{
        Entry,
        Upper,
        Uppers, //
    },
};

/// A device below. It is claimed as long as there is one above.
#[pin_data]
pub(crate) struct Lower {
    name: CString,
    counters: Arc<Counters>,
    edges: Arc<Edges>,
    #[pin]
    claim: Mutex<Option<Registration<Forwarder>>>,
}

impl Lower {
    /// Prepares the device that the kernel calls `name` for others above it.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if it is a partition.
    /// - `ENOENT`, `ENOTBLK`, `EOPNOTSUPP` if there is no such device, or if it has no DAX.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn new(name: &CStr, edges: Arc<Edges>) -> Result<Arc<Self>> {
        // Looked up again when it is claimed: it may go and come until then.
        Mapping::new(&open(name)?)?;

        let name = CString::try_from(name)?;
        let counters = Arc::new(Counters::new(), GFP_KERNEL)?;

        Arc::pin_init(
            try_pin_init!(Self {
                name,
                counters,
                edges,
                claim <- new_mutex!(None),
            }),
            GFP_KERNEL,
        )
    }

    pub(crate) fn name(&self) -> &CStr {
        &self.name
    }

    pub(crate) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Attaches the device that the kernel calls `name`, until the attachment is dropped.
    ///
    /// # Errors
    ///
    /// - `EBUSY` if the device below has a holder, such as a filesystem.
    /// - `EINVAL` if one of the two is a partition.
    /// - `ENODEV` if the device above has no memory of the one below.
    /// - `ELOOP` if the device above is below at the same time.
    /// - `EEXIST` if it is attached under another name.
    /// - `ENOENT`, `ENOTBLK`, `EOPNOTSUPP` if there is no such device, or if it has no DAX.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn attach(self: &Arc<Self>, name: &CStr) -> Result<Attachment> {
        let upper = Upper::new(Mapping::new(&open(name)?)?)?;
        let mut claim = self.claim.lock();

        // In the slot only if all went well; until then it is given up on the way out.
        let registration = match claim.take() {
            Some(registration) => registration,
            None => self.register()?,
        };
        let attached = Attachment::new(self, registration.holder(), upper);

        if !registration.holder().uppers.is_empty() {
            *claim = Some(registration);
        }
        attached
    }

    /// Claims the device that the kernel calls by our name.
    fn register(&self) -> Result<Registration<Forwarder>> {
        let file = open(&self.name)?;
        let uppers = Arc::pin_init(Uppers::new(), GFP_KERNEL)?;
        let forwarder = Forwarder {
            mapping: Mapping::new(&file)?,
            counters: self.counters.clone(),
            uppers,
        };

        Registration::new(&file, Arc::new(forwarder, GFP_KERNEL)?)
    }

    /// Gives the device up if there is none above.
    fn release(&self) {
        let mut claim = self.claim.lock();

        if claim
            .as_ref()
            .is_some_and(|registration| registration.holder().uppers.is_empty())
        {
            *claim = None;
        }
    }
}

/// A device above, attached until this is dropped.
// The fields are dropped in this order: the device is not told any more, and then the one below is
// given up if this was the last.
pub(crate) struct Attachment {
    _edge: Edge,
    _entry: Entry,
    upper: Arc<Upper>,
    _release: Release,
}

impl Attachment {
    fn new(lower: &Arc<Lower>, forwarder: &Forwarder, upper: Arc<Upper>) -> Result<Self> {
        let edge = lower
            .edges
            .add(forwarder.mapping.device(), upper.mapping().device())?;

        if !forwarder.is_below(&upper) {
            return Err(ENODEV);
        }

        Ok(Self {
            _edge: edge,
            _entry: forwarder.uppers.add(upper.clone())?,
            upper,
            _release: Release(lower.clone()),
        })
    }

    /// The device above.
    pub(crate) fn upper(&self) -> &Arc<Upper> {
        &self.upper
    }
}

struct Release(Arc<Lower>);

impl Drop for Release {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// The holder of a device: it tells the holders of those above.
struct Forwarder {
    mapping: Mapping,
    counters: Arc<Counters>,
    uppers: Arc<Uppers>,
}

impl Forwarder {
    fn is_below(&self, upper: &Upper) -> bool {
        self.mapping
            .frames(ByteRange::ALL)
            .is_some_and(|frames| upper.has(&frames))
    }

    fn forward(&self, range: ByteRange, flags: Flags) -> Outcome {
        match self.mapping.frames(range) {
            Some(frames) => self.uppers.notify(&frames, flags),
            None => Outcome::Failed(ENXIO),
        }
    }
}

impl Holder for Forwarder {
    fn notify_failure(&self, range: ByteRange, flags: Flags) -> Outcome {
        let outcome = self.counters.count(|| self.forward(range, flags));

        if outcome != Outcome::Delivered {
            pr_warn!(
                "memory failure at offset {:#x} length {:#x}: {outcome}\n",
                range.start(),
                range.len()
            );
        }
        outcome
    }
}

/// Opens the block device that the kernel calls `name`.
fn open(name: &CStr) -> Result<DeviceFile> {
    DeviceFile::open(&CString::try_from_fmt(fmt!("/dev/{}", name.to_str()?))?)
}
