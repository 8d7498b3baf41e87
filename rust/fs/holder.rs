// SPDX-License-Identifier: GPL-2.0

//! The holder of the DAX device on behalf of a mounted filesystem.

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

/// Has the filesystem of a superblock handle a memory failure.
pub(super) type Notify = unsafe fn(
    super_block: NonNull<bindings::super_block>,
    range: ByteRange<space::Volume>,
    flags: Flags,
) -> Outcome;

/// The holder of the DAX device on behalf of a mounted filesystem.
///
/// # Invariants
///
/// `notify` may be called for `super_block`, in a callback of a holder, as long as a registration
/// of this holder exists.
#[pin_data]
pub(super) struct MountedHolder {
    super_block: NonNull<bindings::super_block>,
    notify: Notify,
    wants_found: bool,
    /// One failure is marked and handled at a time: what one has marked is not for another to take
    /// back.
    #[pin]
    handling: Mutex<()>,
}

// SAFETY: The superblock may be used on any thread.
unsafe impl Send for MountedHolder {}

// SAFETY: As above.
unsafe impl Sync for MountedHolder {}

impl MountedHolder {
    /// # Safety
    ///
    /// `notify` may be called for `super_block`, in a callback of a holder, as long as a
    /// registration of this holder exists.
    pub(super) unsafe fn new(
        super_block: NonNull<bindings::super_block>,
        notify: Notify,
        wants_found: bool,
    ) -> impl PinInit<Self> {
        // INVARIANT: By the safety requirements.
        pin_init!(Self {
            super_block,
            notify,
            wants_found,
            handling <- new_mutex!(()),
        })
    }
}

impl Holder for MountedHolder {
    fn notify_failure(&self, range: ByteRange<space::Volume>, flags: Flags) -> Outcome {
        // What is hit comes under `mf_mutex`, what is found does not. Nothing is marked before
        // memory is removed.
        let _handling = (!flags.contains(Flags::MEM_PRE_REMOVE)).then(|| self.handling.lock());

        // SAFETY: By the type invariants; this is a callback of a holder.
        unsafe { (self.notify)(self.super_block, range, flags) }
    }

    fn notify_found(
        &self,
        range: ByteRange<space::Volume>,
        recipients: Recipients,
    ) -> Option<Outcome> {
        (self.wants_found || recipients == Recipients::All)
            .then(|| self.notify_failure(range, Flags::NONE))
    }
}
