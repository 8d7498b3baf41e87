// SPDX-License-Identifier: GPL-2.0

//! NUMA nodes.
//!
//! C header: [`include/linux/numa.h`](srctree/include/linux/numa.h)

use kernel::prelude::*;

use crate::bindings;

/// A NUMA node to allocate memory on.
///
/// The kernel indexes a table with the number of the node, without a check. A number that is no
/// node would make it access other memory.
///
/// # Invariants
///
/// `self.0` is the node of a device, or `NUMA_NO_NODE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node(c_int);

impl Node {
    /// No particular node: the kernel chooses.
    // INVARIANT: `self.0` is `NUMA_NO_NODE`.
    pub const ANY: Self = Self(bindings::NUMA_NO_NODE);

    /// The node of a device.
    ///
    /// # Safety
    ///
    /// `device` must be valid.
    pub(crate) unsafe fn of(device: *mut bindings::device) -> Self {
        // INVARIANT: `dev_to_node()` returns the node of the device, or `NUMA_NO_NODE`.
        // SAFETY: `device` is valid by the safety requirements.
        Self(unsafe { bindings::dev_to_node(device) })
    }

    pub(crate) fn as_raw(self) -> c_int {
        self.0
    }
}
