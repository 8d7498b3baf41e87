// SPDX-License-Identifier: GPL-2.0

//! Last references to inodes that a work item drops.

use core::ptr::{
    self,
    NonNull, //
};

use kernel::{
    prelude::*,
    sync::{
        new_mutex,
        Mutex, //
    },
};

use crate::bindings;

/// A list of last references to inodes, which a work item drops. The list allocates no memory:
/// `i_private` links the inodes.
#[pin_data]
pub(super) struct DelayedIputs {
    #[pin]
    head: Mutex<Head>,
}

/// The head of the list.
///
/// # Invariants
///
/// `self.0` is null, or the first inode of a list. The list owns a reference to each of its inodes.
struct Head(*mut bindings::inode);

// SAFETY: `iput()` can be called on any thread.
unsafe impl Send for Head {}

impl DelayedIputs {
    pub(super) fn new() -> impl PinInit<Self> {
        // INVARIANT: A null pointer is an empty list.
        pin_init!(Self {
            head <- new_mutex!(Head(ptr::null_mut())),
        })
    }

    /// Adds a reference to the list.
    ///
    /// # Safety
    ///
    /// The caller must own a reference to `inode`, which must be of a filesystem of this crate. The
    /// list takes over the reference.
    pub(super) unsafe fn add(&self, inode: NonNull<bindings::inode>) {
        let mut head = self.head.lock();

        // INVARIANT: `inode` was not in the list. Otherwise the list would own a reference, and the
        // caller's reference would not be the last one.
        // SAFETY: The inode is valid by the safety requirements. No other code uses `i_private` of
        // an inode of this crate.
        unsafe { (*inode.as_ptr()).i_private = head.0.cast() };
        head.0 = inode.as_ptr();
    }

    /// Takes a reference from the list, and passes it to the caller.
    fn take(&self) -> Option<NonNull<bindings::inode>> {
        let mut head = self.head.lock();
        let inode = NonNull::new(head.0)?;

        // INVARIANT: The next inode becomes the first one.
        // SAFETY: The list owns a reference to the inode by the type invariants of `Head`, so it is
        // valid.
        unsafe {
            head.0 = (*inode.as_ptr()).i_private.cast();
            (*inode.as_ptr()).i_private = ptr::null_mut();
        }
        Some(inode)
    }

    /// Drops all references of the list. This evicts inodes, which sleeps, takes the locks of the
    /// filesystem, and waits while the filesystem is frozen.
    pub(super) fn run(&self) {
        while let Some(inode) = self.take() {
            // SAFETY: `take()` has passed the reference, and it is not used afterwards.
            unsafe { bindings::iput(inode.as_ptr()) };
        }
    }
}
