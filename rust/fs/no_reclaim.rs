// SPDX-License-Identifier: GPL-2.0

//! Allocations that do not come back to the filesystem.
//!
//! C header: [`include/linux/sched/mm.h`](srctree/include/linux/sched/mm.h)

use kernel::{
    prelude::*,
    types::NotThreadSafe, //
};

use crate::bindings;

/// While this exists, no allocation of this thread makes the kernel reclaim memory from a
/// filesystem, which may need the locks that the thread holds.
///
/// # Examples
///
/// ```
/// use daxmf::fs::NoReclaim;
///
/// let _no_reclaim = NoReclaim::new();
/// let memory = KBox::new(7_u64, GFP_KERNEL)?;
/// assert_eq!(*memory, 7);
/// # Ok::<(), Error>(())
/// ```
///
/// # Invariants
///
/// The scope that `memalloc_nofs_save()` has returned `flags` for has not ended.
///
/// C: `memalloc_nofs_save()`, `memalloc_nofs_restore()`
#[must_use = "the scope ends when this is dropped"]
pub struct NoReclaim {
    flags: c_uint,
    _not_send: NotThreadSafe,
}

impl NoReclaim {
    /// Begins the scope.
    #[allow(clippy::new_without_default, reason = "it has an effect")]
    pub fn new() -> Self {
        // INVARIANT: The scope begins here.
        Self {
            // SAFETY: The function sets a flag of the current thread.
            flags: unsafe { bindings::memalloc_nofs_save() },
            _not_send: NotThreadSafe,
        }
    }
}

impl Drop for NoReclaim {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, on the thread that has begun the scope.
        unsafe { bindings::memalloc_nofs_restore(self.flags) };
    }
}
