// SPDX-License-Identifier: GPL-2.0

//! Allocations that do not come back to the filesystem.
//!
//! C header: [`include/linux/sched/mm.h`](srctree/include/linux/sched/mm.h)

use crate::bindings;

/// Calls `f`. Meanwhile no allocation of this thread makes the kernel reclaim memory from a
/// filesystem, which may need the locks that `f` takes.
///
/// The scope is a call and no guard: guards can be dropped in another order, or be forgotten, and
/// the thread would go on with the flag of a scope that has ended.
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
    // SAFETY: The function sets a flag of the current thread.
    let flags = unsafe { bindings::memalloc_nofs_save() };
    let result = f();

    // SAFETY: `f` was called on this thread, and scopes within it have ended.
    unsafe { bindings::memalloc_nofs_restore(flags) };
    result
}
