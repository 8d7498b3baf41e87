// SPDX-License-Identifier: GPL-2.0

//! Synchronization primitives.

pub use crate::srcu::{
    self,
    Srcu, //
};
pub use kernel::sync::*;

/// RCU support.
pub mod rcu {
    pub use kernel::sync::rcu::*;

    /// Waits until all callbacks of `call_rcu()` have run that were queued before. Sleeps.
    pub fn rcu_barrier() {
        // SAFETY: `rcu_barrier()` has no preconditions but a context that may sleep.
        unsafe { kernel::bindings::rcu_barrier() };
    }
}
