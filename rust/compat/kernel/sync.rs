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

    /// Waits until all callbacks that `call_rcu()` queued before the call have run. Sleeps.
    pub fn rcu_barrier() {
        // SAFETY: `rcu_barrier()` requires only a context that may sleep.
        unsafe { kernel::bindings::rcu_barrier() };
    }
}
