// SPDX-License-Identifier: GPL-2.0

//! The holder of the DAX device of a mounted filesystem.

use core::ptr::NonNull;

use kernel::{
    prelude::*,
    sync::{
        new_mutex,
        Mutex, //
    },
};

use crate::{
    bindings,
    dax::{
        holder::Recipients,
        Holder, //
    },
    memory_failure::{
        Flags,
        Outcome, //
    },
    range::{
        space,
        ByteRange, //
    },
};

/// Notifies the filesystem of a superblock of a memory failure.
pub(super) type Notify = unsafe fn(
    super_block: NonNull<bindings::super_block>,
    range: ByteRange<space::Volume>,
    flags: Flags,
) -> Outcome;

/// The holder of the DAX device of a mounted filesystem.
///
/// # Invariants
///
/// While a registration of this holder exists, a callback of the holder can call `notify` for
/// `super_block`.
#[pin_data]
pub(super) struct MountedHolder {
    super_block: NonNull<bindings::super_block>,
    notify: Notify,
    notifies_found: bool,
    /// Serializes the failures, because dropping the `Marks` of one could clear a mark that another
    /// has set.
    #[pin]
    handling: Mutex<()>,
}

// SAFETY: `struct super_block` is not bound to a thread.
unsafe impl Send for MountedHolder {}

// SAFETY: `notify` can be called by several threads at once. The fields do not change.
unsafe impl Sync for MountedHolder {}

impl MountedHolder {
    /// # Safety
    ///
    /// While a registration of this holder exists, it must be allowed to call `notify` for
    /// `super_block` in a callback of the holder.
    pub(super) unsafe fn new(
        super_block: NonNull<bindings::super_block>,
        notify: Notify,
        notifies_found: bool,
    ) -> impl PinInit<Self> {
        // INVARIANT: `notify` may be called for `super_block` by the safety requirements.
        pin_init!(Self {
            super_block,
            notify,
            notifies_found,
            handling <- new_mutex!(()),
        })
    }
}

impl Holder for MountedHolder {
    fn notify_failure(&self, range: ByteRange<space::Volume>, flags: Flags) -> Outcome {
        // `memory_failure()` calls this under `mf_mutex`, but found errors are notified without it.
        // Before memory is removed, nothing is marked, so no lock is needed.
        let _handling = (!flags.contains(Flags::MEM_PRE_REMOVE)).then(|| self.handling.lock());

        // SAFETY: `notify` may be called for `super_block` by the type invariants, because this is
        // a callback of a registered holder.
        unsafe { (self.notify)(self.super_block, range, flags) }
    }

    fn notify_found(
        &self,
        range: ByteRange<space::Volume>,
        recipients: Recipients,
    ) -> Option<Outcome> {
        (self.notifies_found || recipients == Recipients::All)
            .then(|| self.notify_failure(range, Flags::NONE))
    }
}
