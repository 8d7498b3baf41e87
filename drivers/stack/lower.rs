// SPDX-License-Identifier: GPL-2.0

//! The lower devices, whose failures are forwarded, and the attachments of upper devices.

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

/// A lower device. It is claimed while an upper device is attached.
#[pin_data]
pub(crate) struct Lower {
    name: CString,
    counters: Arc<Counters>,
    graph: Arc<Graph<Disk>>,
    #[pin]
    claim: Mutex<Option<Registration<Forwarder>>>,
}

impl Lower {
    /// Prepares the device with the kernel's name `name` as a lower device.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if the device is a partition.
    /// - `ENOENT`, `ENOTBLK` if there is no such device, see [`open()`].
    /// - `EOPNOTSUPP` if the device has no DAX.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn new(name: &CStr, graph: Arc<Graph<Disk>>) -> Result<Arc<Self>> {
        // This only checks the device. `register()` looks the device up again, because another
        // device can have the name by then.
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

    /// Attaches the device with the kernel's name `name` as an upper device, until the attachment
    /// is dropped.
    ///
    /// # Errors
    ///
    /// - `EBUSY` if the lower device has a holder, such as a filesystem.
    /// - `EINVAL` if one of the two devices is a partition.
    /// - `ENODEV` if the upper device has no memory of the lower one.
    /// - `ELOOP` if the upper device is the lower one or is below it, or if there would be more
    ///   than 64 levels.
    /// - `EEXIST` if the upper device is attached under another name.
    /// - `ENOENT`, `ENOTBLK` if there is no such device, see [`open()`].
    /// - `EOPNOTSUPP` if one of the two devices has no DAX.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn attach(self: &Arc<Self>, name: &CStr) -> Result<Attachment> {
        let upper = Disk::new(Mapping::new(&open(name)?)?)?;
        let _attaching = self.graph.lock_attaching();
        let mut claim = self.claim.lock();

        // The registration is put back below, if an upper device is attached. Otherwise dropping
        // the registration releases the lower device.
        let registration = match claim.take() {
            Some(registration) if registration.holder().is_alive() => registration,
            // No upper device is attached, or the lower device was removed. In the second case, its
            // attachments stay with it, and are stale.
            _ => self.register()?,
        };
        let attached = Attachment::new(self, registration.holder().node.clone(), upper);

        if registration.holder().node.plan().is_some() {
            *claim = Some(registration);
        }
        attached
    }

    /// Claims the device that has the name now.
    fn register(&self) -> Result<Registration<Forwarder>> {
        let file = open(&self.name)?;
        let forwarder = Forwarder {
            node: self.graph.node(Disk::new(Mapping::new(&file)?)?)?,
            counters: self.counters.clone(),
        };

        Registration::new(&file, Arc::new(forwarder, GFP_KERNEL)?)
    }

    /// Releases the device if no upper device is attached.
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

/// An attached upper device. Dropping this value detaches the device.
// The fields are dropped in this order: `_edge` stops the forwarding to the upper device, then
// `_release` releases the lower device if no other upper device is attached.
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
        // Add the edge before `is_below()` walks over the device. `Graph::add()` checks the number
        // of levels: with too many levels, the walk can overflow the kernel's stack.
        let edge = below.graph.add(Edge {
            lower: lower.clone(),
            upper: upper.clone(),
            lower_counters: below.counters.clone(),
            upper_counters: counters.clone(),
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

    /// The counters of the failures that have a part in the upper device.
    pub(crate) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Whether one of the two devices was removed. Another device can have its name.
    pub(crate) fn is_stale(&self) -> bool {
        ![&self.lower, &self.upper]
            .iter()
            .all(|node| node.device().mapping().is_alive())
    }
}

/// Releases a lower device when dropped, if no upper device is attached.
struct Release(Arc<Lower>);

impl Drop for Release {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// The holder of a lower device, which forwards failures to the devices above.
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
                "{:?}: memory failure at offset {:#x} length {:#x}: {outcome}\n",
                self.node.device().mapping().disk().name(),
                range.start(),
                range.len()
            );
        }
        outcome
    }

    /// Notifies the holders above that are among `recipients`.
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

/// Opens the block device with the kernel's name `name`.
///
/// # Errors
///
/// - `ENOENT` if there is no such device, or if `/dev/NAME` of the caller is another disk.
/// - `ENOTBLK` if `/dev/NAME` is not a block device.
fn open(name: &CStr) -> Result<DeviceFile> {
    let file = DeviceFile::open(&CString::try_from_fmt(fmt!("/dev/{}", name.to_str()?))?)?;

    // The caller can be in another mount namespace, in which `/dev/NAME` is another device.
    if file.is_partition() || file.disk().name() == name {
        Ok(file)
    } else {
        Err(ENOENT)
    }
}
