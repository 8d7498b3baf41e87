// SPDX-License-Identifier: GPL-2.0

//! Last references to inodes, which a work item drops.

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

/// Last references to inodes, which are to be dropped. The list needs no memory: `i_private` links
/// the inodes.
#[pin_data]
pub(super) struct DelayedIputs {
    #[pin]
    head: Mutex<Head>,
}

/// # Invariants
///
/// It is null, or the first of a list of inodes, each of which the list owns a reference to.
struct Head(*mut bindings::inode);

// SAFETY: `iput()` may be called on any thread.
unsafe impl Send for Head {}

impl DelayedIputs {
    pub(super) fn new() -> impl PinInit<Self> {
        // INVARIANT: It is null.
        pin_init!(Self {
            head <- new_mutex!(Head(ptr::null_mut())),
        })
    }

    /// # Safety
    ///
    /// The caller must own a reference to `inode`, of a filesystem of this crate. It is the list's
    /// from now on.
    pub(super) unsafe fn add(&self, inode: NonNull<bindings::inode>) {
        let mut head = self.head.lock();

        // INVARIANT: It was not in the list: it would have two references then, of which ours was
        // not the last one.
        // SAFETY: By the safety requirements. Nobody else uses the field of our inodes.
        unsafe { (*inode.as_ptr()).i_private = head.0.cast() };
        head.0 = inode.as_ptr();
    }

    /// Takes a reference from the list, which is the caller's then.
    fn take(&self) -> Option<NonNull<bindings::inode>> {
        let mut head = self.head.lock();
        let inode = NonNull::new(head.0)?;

        // INVARIANT: The next one takes its place.
        // SAFETY: By the type invariants.
        unsafe {
            head.0 = (*inode.as_ptr()).i_private.cast();
            (*inode.as_ptr()).i_private = ptr::null_mut();
        }
        Some(inode)
    }

    /// Drops all of them. Inodes are evicted then, which sleeps, takes the locks of the
    /// filesystem, and waits while that is frozen.
    pub(super) fn run(&self) {
        while let Some(inode) = self.take() {
            // SAFETY: The reference is ours, and not used afterwards.
            unsafe { bindings::iput(inode.as_ptr()) };
        }
    }
}
