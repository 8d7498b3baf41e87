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

/// A file in sysfs that somebody may poll.
///
/// # Invariants
///
/// `self.0` points to a valid node, of which `self` owns a reference.
pub(crate) struct SysfsFile(NonNull<bindings::kernfs_node>);

// SAFETY: A node may be put on any thread.
unsafe impl Send for SysfsFile {}

// SAFETY: `kernfs_notify()` does its own locking.
unsafe impl Sync for SysfsFile {}

impl SysfsFile {
    /// Takes hold of a file in the folder of a device. Returns [`None`] if there is none of this
    /// name.
    ///
    /// # Safety
    ///
    /// `device` must be valid, and have been added.
    pub(crate) unsafe fn of(device: *mut bindings::device, name: &CStr) -> Option<Self> {
        // SAFETY: By the safety requirements it has a folder.
        let file = unsafe {
            bindings::kernfs_find_and_get_ns((*device).kobj.sd, name.as_char_ptr(), ptr::null())
        };

        // INVARIANT: `kernfs_find_and_get_ns()` returns a file with a reference.
        NonNull::new(file).map(Self)
    }

    /// Wakes up those who poll the file, after what it shows has changed.
    pub(crate) fn notify(&self) {
        // SAFETY: By the type invariants, and the node is that of a file.
        unsafe { bindings::kernfs_notify(self.0.as_ptr()) };
    }
}

impl Drop for SysfsFile {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::kernfs_put(self.0.as_ptr()) };
    }
}
