// SPDX-License-Identifier: GPL-2.0

//! NUMA nodes.
//!
//! C header: [`include/linux/numa.h`](srctree/include/linux/numa.h)

use kernel::prelude::*;

use crate::bindings;

/// A NUMA node to allocate memory on.
///
/// C looks a node up in a table by its number, and checks nothing: a number that is that of no node
/// ends in memory of others.
///
/// # Invariants
///
/// `self.0` is the node of a device, or `NUMA_NO_NODE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node(c_int);

impl Node {
    /// No node in particular.
    // INVARIANT: It is `NUMA_NO_NODE`.
    pub const ANY: Self = Self(bindings::NUMA_NO_NODE);

    /// The node of a device.
    ///
    /// # Safety
    ///
    /// `device` must be valid.
    pub(crate) unsafe fn of(device: *mut bindings::device) -> Self {
        // INVARIANT: It is the node of a device.
        // SAFETY: By the safety requirements.
        Self(unsafe { bindings::dev_to_node(device) })
    }

    pub(crate) fn as_raw(self) -> c_int {
        self.0
    }
}
