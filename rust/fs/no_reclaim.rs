// SPDX-License-Identifier: GPL-2.0

//! Allocations that do not reclaim memory from filesystems.
//!
//! C header: [`include/linux/sched/mm.h`](srctree/include/linux/sched/mm.h)

use crate::bindings;

/// Calls `f`. During the call, no allocation of this thread reclaims memory from a filesystem. Such
/// a reclaim can take the locks that `f` holds.
///
/// The scope is a closure instead of a guard, because guards can be leaked, or dropped in another
/// order. The thread would then keep the flag after the end of the scope.
///
/// # Examples
///
/// ```
/// use daxmf::fs::without_reclaim;
///
/// let memory = without_reclaim(|| KBox::new(7_u64, GFP_KERNEL))?;
/// assert_eq!(*memory, 7);
/// # Ok::<(), Error>(())
/// ```
///
/// C: `memalloc_nofs_save()`, `memalloc_nofs_restore()`
#[inline]
pub fn without_reclaim<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: `memalloc_nofs_save()` sets a flag of the current thread.
    let flags = unsafe { bindings::memalloc_nofs_save() };
    let result = f();

    // SAFETY: `f` was called on this thread, and all scopes inside `f` have ended.
    unsafe { bindings::memalloc_nofs_restore(flags) };
    result
}
