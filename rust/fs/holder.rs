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
    /// Held while a failure is handled. Otherwise the drop of the `Marks` of one failure could
    /// clear a poison mark that another failure has set.
    #[pin]
    handling: Mutex<()>,
}

// SAFETY: `super_block` is a pointer to a `struct super_block`, which any thread may use.
unsafe impl Send for MountedHolder {}

// SAFETY: `notify` can be called by several threads at once. The fields do not change.
unsafe impl Sync for MountedHolder {}

impl MountedHolder {
    /// Creates the holder for a superblock.
    ///
    /// # Safety
    ///
    /// While a registration of this holder exists, `notify` must be callable for `super_block` in a
    /// callback of the holder.
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
        // `memory_failure()` calls this under `mf_mutex`, but notifications of found errors do not
        // take `mf_mutex`. With `MEM_PRE_REMOVE` no frame is marked, so no lock is needed.
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
