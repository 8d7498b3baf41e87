// SPDX-License-Identifier: GPL-2.0

//! The devices below.

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
        Counters,
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
    prelude::*,
    str::CString,
    sync::{
        new_mutex,
        Arc,
        Mutex, //
    },
};

use crate::{
    disk::Disk,
    graph::{
        Attached,
        Graph, //
    },
    memory::Mapping,
    node::{
        Edge,
        Node, //
    },
};

/// A device below. It is claimed as long as there is one above.
#[pin_data]
pub(crate) struct Lower {
    name: CString,
    counters: Arc<Counters>,
    graph: Arc<Graph<Disk>>,
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
    pub(crate) fn new(name: &CStr, graph: Arc<Graph<Disk>>) -> Result<Arc<Self>> {
        // Looked up again when it is claimed: it may go and come until then.
        Mapping::new(&open(name)?)?;

        let name = CString::try_from(name)?;
        let counters = Arc::new(Counters::new(), GFP_KERNEL)?;

        Arc::pin_init(
            try_pin_init!(Self {
                name,
                counters,
                graph,
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
    /// - `ELOOP` if the device above is below at the same time, or if there are too many levels.
    /// - `EEXIST` if it is attached under another name.
    /// - `ENOENT`, `ENOTBLK`, `EOPNOTSUPP` if there is no such device, or if it has no DAX.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn attach(self: &Arc<Self>, name: &CStr) -> Result<Attachment> {
        let upper = Disk::new(Mapping::new(&open(name)?)?)?;
        let _attaching = self.graph.attaching();
        let mut claim = self.claim.lock();

        // In the slot only if all went well; until then it is given up on the way out.
        let registration = match claim.take() {
            Some(registration) if registration.holder().is_alive() => registration,
            // What is attached above a device that is gone stays above that one.
            _ => self.register()?,
        };
        let attached = Attachment::new(self, registration.holder().node.clone(), upper);

        if registration.holder().node.plan().is_some() {
            *claim = Some(registration);
        }
        attached
    }

    /// Claims the device that the kernel calls by our name.
    fn register(&self) -> Result<Registration<Forwarder>> {
        let file = open(&self.name)?;
        let forwarder = Forwarder {
            node: self.graph.node(Disk::new(Mapping::new(&file)?)?)?,
            counters: self.counters.clone(),
        };

        Registration::new(&file, Arc::new(forwarder, GFP_KERNEL)?)
    }

    /// Gives the device up if there is none above.
    fn release(&self) {
        let mut claim = self.claim.lock();

        if claim
            .as_ref()
            .is_some_and(|registration| registration.holder().node.plan().is_none())
        {
            *claim = None;
        }
    }
}

/// A device above, attached until this is dropped.
// The fields are dropped in this order: no failure is taken to the device any more, and then the
// one below is given up if this was the last.
pub(crate) struct Attachment {
    _edge: Attached<Disk>,
    lower: Arc<Node<Disk>>,
    upper: Arc<Node<Disk>>,
    counters: Arc<Counters>,
    _release: Release,
}

impl Attachment {
    fn new(below: &Arc<Lower>, lower: Arc<Node<Disk>>, upper: Arc<Disk>) -> Result<Self> {
        let upper = below.graph.node(upper)?;
        let counters = Arc::new(Counters::new(), GFP_KERNEL)?;
        // Before the device is walked over: of too many levels, that would not end well.
        let edge = below.graph.add(Edge {
            lower: lower.clone(),
            upper: upper.clone(),
            received: below.counters.clone(),
            counters: counters.clone(),
        })?;

        if !lower.device().is_below(upper.device()) {
            return Err(ENODEV);
        }
        Ok(Self {
            _edge: edge,
            lower,
            upper,
            counters,
            _release: Release(below.clone()),
        })
    }

    /// Counts the failures that the device above has a part of.
    pub(crate) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Whether one of the devices is gone: others may have their names.
    pub(crate) fn is_stale(&self) -> bool {
        ![&self.lower, &self.upper]
            .iter()
            .all(|node| node.device().mapping().is_alive())
    }
}

struct Release(Arc<Lower>);

impl Drop for Release {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// The holder of a device: it takes failures to those above.
struct Forwarder {
    node: Arc<Node<Disk>>,
    counters: Arc<Counters>,
}

impl Forwarder {
    fn is_alive(&self) -> bool {
        self.node.device().mapping().is_alive()
    }

    fn forward(&self, range: ByteRange<space::Volume>, flags: Flags) -> Outcome {
        const UNUSED: Outcome = Outcome::Declined(Reason::Unused);

        let Some(frames) = self.node.device().mapping().frames(range) else {
            return Outcome::Failed(ENXIO);
        };
        let outcome = self.node.plan().and_then(|plan| {
            plan.run(
                |disk| disk.notify(&frames, flags),
                |disk| disk.has(&frames),
                Some(UNUSED),
            )
        });

        outcome.unwrap_or(UNUSED)
    }
}

impl Holder for Forwarder {
    fn notify_failure(&self, range: ByteRange<space::Volume>, flags: Flags) -> Outcome {
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

    /// Notifies the holders above that are among `recipients`, and no others.
    fn notify_found(
        &self,
        range: ByteRange<space::Volume>,
        recipients: Recipients,
    ) -> Option<Outcome> {
        let frames = self.node.device().mapping().frames(range)?;
        let outcome = self.node.plan()?.run(
            |disk| disk.notify_found(&frames, recipients),
            |disk| disk.has(&frames),
            None,
        )?;

        Some(self.counters.count(|| outcome))
    }
}

/// Opens the block device that the kernel calls `name`.
///
/// # Errors
///
/// - `ENOENT` if there is no such device, or if the caller's `/dev` has another one in its place.
/// - `ENOTBLK` if that is not a block device.
fn open(name: &CStr) -> Result<DeviceFile> {
    let file = DeviceFile::open(&CString::try_from_fmt(fmt!("/dev/{}", name.to_str()?))?)?;

    // Whoever may make folders here need not be in the mount namespace that names the devices.
    if file.is_partition() || file.disk().name() == name {
        Ok(file)
    } else {
        Err(ENOENT)
    }
}
