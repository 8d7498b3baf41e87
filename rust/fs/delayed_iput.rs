// SPDX-License-Identifier: GPL-2.0

//! References to inodes that are given up from a work item.

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

/// The last references to inodes, which are still to be given up. That needs no memory: they are
/// linked by `i_private`.
#[pin_data]
pub(super) struct LastRefs {
    #[pin]
    first: Mutex<First>,
}

/// # Invariants
///
/// It is null, or the first of a list of inodes, each of which the list owns a reference to.
struct First(*mut bindings::inode);

// SAFETY: `iput()` may be called on any thread.
unsafe impl Send for First {}

impl LastRefs {
    pub(super) fn new() -> impl PinInit<Self> {
        // INVARIANT: It is null.
        pin_init!(Self {
            first <- new_mutex!(First(ptr::null_mut())),
        })
    }

    /// # Safety
    ///
    /// The caller must own a reference to `inode`, of a filesystem of this crate. It is the list's
    /// from now on.
    pub(super) unsafe fn add(&self, inode: NonNull<bindings::inode>) {
        let mut first = self.first.lock();

        // INVARIANT: It was not in the list: it would have two references then, of which ours was
        // not the last one.
        // SAFETY: By the safety requirements. Nobody else uses the field of our inodes.
        unsafe { (*inode.as_ptr()).i_private = first.0.cast() };
        first.0 = inode.as_ptr();
    }

    /// Takes a reference from the list, which is the caller's then.
    fn take(&self) -> Option<NonNull<bindings::inode>> {
        let mut first = self.first.lock();
        let inode = NonNull::new(first.0)?;

        // INVARIANT: The next one takes its place.
        // SAFETY: By the type invariants.
        unsafe {
            first.0 = (*inode.as_ptr()).i_private.cast();
            (*inode.as_ptr()).i_private = ptr::null_mut();
        }
        Some(inode)
    }

    /// Gives up all of them. Inodes are evicted then, which sleeps, takes the locks of the
    /// filesystem, and waits while that is frozen.
    pub(super) fn give_up(&self) {
        while let Some(inode) = self.take() {
            // SAFETY: The reference is ours, and not used afterwards.
            unsafe { bindings::iput(inode.as_ptr()) };
        }
    }
}
