// SPDX-License-Identifier: GPL-2.0

//! The nodes and the edges of the graph: devices, and which is directly above which.

use daxmf::memory_failure::Counters;
use kernel::{
    prelude::*,
    sync::{
        atomic::Atomic,
        new_mutex,
        Arc,
        Mutex, //
    },
};

use crate::plan::Plan;

/// A lower or an upper device.
#[pin_data]
pub(crate) struct Node<D> {
    pub(crate) device: Arc<D>,
    #[pin]
    pub(crate) plan: Mutex<Option<Arc<Plan<D>>>>,
    /// The index of the device in the plan that is being made. It can be from an earlier plan.
    pub(crate) step: Atomic<usize>,
}

impl<D> Node<D> {
    pub(crate) fn new(device: Arc<D>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                device,
                plan <- new_mutex!(None),
                step: Atomic::new(0),
            }),
            GFP_KERNEL,
        )
    }

    pub(crate) fn device(&self) -> &D {
        &self.device
    }

    /// The plan with the devices above, or [`None`] if there are none.
    pub(crate) fn plan(&self) -> Option<Arc<Plan<D>>> {
        self.plan.lock().clone()
    }

    /// Whether `other` is above this device, over any number of levels.
    pub(crate) fn is_below(&self, other: &Arc<Self>) -> bool {
        self.plan().is_some_and(|plan| plan.has(&other.device))
    }

    pub(crate) fn address(self: &Arc<Self>) -> usize {
        Arc::as_ptr(self) as usize
    }
}

/// An upper device directly above a lower one.
pub(crate) struct Edge<D> {
    pub(crate) lower: Arc<Node<D>>,
    pub(crate) upper: Arc<Node<D>>,
    /// Counts the failures of the lower device.
    pub(crate) lower_counters: Arc<Counters>,
    /// Counts the failures that have a part in the upper device.
    pub(crate) upper_counters: Arc<Counters>,
}

impl<D> Edge<D> {
    /// The key by which edges are sorted: edges with the same lower device are neighbours.
    pub(crate) fn key(&self) -> (usize, usize) {
        (self.lower.address(), self.upper.address())
    }
}

/// The edges from `node` to the devices directly above it. `edges` must be sorted by
/// [`Edge::key()`].
pub(crate) fn above<'a, D>(edges: &'a [Edge<D>], node: &Arc<Node<D>>) -> &'a [Edge<D>] {
    let first = edges.partition_point(|edge| edge.lower.address() < node.address());
    let end = edges.partition_point(|edge| edge.lower.address() <= node.address());

    edges.get(first..end).unwrap_or_default()
}
