// SPDX-License-Identifier: GPL-2.0

//! Files in sysfs.
//!
//! C header: [`include/linux/kernfs.h`](srctree/include/linux/kernfs.h)

use core::ptr::{
    self,
    NonNull, //
};

use kernel::prelude::*;

use crate::bindings;

/// A file in sysfs that processes can poll.
///
/// # Invariants
///
/// `self.0` points to a valid node, and `self` owns a reference to it.
pub(crate) struct SysfsFile(NonNull<bindings::kernfs_node>);

// SAFETY: `kernfs_put()` may be called on any thread.
unsafe impl Send for SysfsFile {}

// SAFETY: `kernfs_notify()` does its own locking.
unsafe impl Sync for SysfsFile {}

impl SysfsFile {
    /// Gets a file in the directory of a device. Returns [`None`] if there is no file of this name.
    ///
    /// # Safety
    ///
    /// `device` must be valid, and must have been added.
    pub(crate) unsafe fn of(device: *mut bindings::device, name: &CStr) -> Option<Self> {
        // SAFETY: `device` was added by the safety requirements, so `kobj.sd` is its directory.
        let file = unsafe {
            bindings::kernfs_find_and_get_ns((*device).kobj.sd, name.as_char_ptr(), ptr::null())
        };

        // INVARIANT: `kernfs_find_and_get_ns()` returns null, or a node with a reference that the
        // caller owns.
        NonNull::new(file).map(Self)
    }

    /// Wakes up the processes that poll the file. Call this after its content has changed.
    pub(crate) fn notify(&self) {
        // SAFETY: `self.0` points to a valid node by the type invariants. It is a file, not a
        // directory.
        unsafe { bindings::kernfs_notify(self.0.as_ptr()) };
    }
}

impl Drop for SysfsFile {
    fn drop(&mut self) {
        // SAFETY: `self` owns a reference to the valid node by the type invariants.
        unsafe { bindings::kernfs_put(self.0.as_ptr()) };
    }
}
