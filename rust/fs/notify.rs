// SPDX-License-Identifier: GPL-2.0

//! What a mounted filesystem does about a memory failure: at once, and some time later.

use core::ptr::NonNull;

use crate::{
    bindings,
    memory_failure::{
        Flags,
        Outcome,
        Reason, //
    },
    range::{
        space,
        ByteRange, //
    },
};

use super::{
    lock::InternalWrite,
    FileSystem,
    SuperBlock, //
};

/// Has the filesystem handle a memory failure.
///
/// # Safety
///
/// Called in a callback of a holder, under `dax_srcu`, with a superblock of type `T` whose
/// filesystem exists.
pub(super) unsafe fn notify_failure<T: FileSystem>(
    super_block: NonNull<bindings::super_block>,
    range: ByteRange<space::Volume>,
    flags: Flags,
) -> Outcome {
    // SAFETY: By the safety requirements.
    let super_block = unsafe { SuperBlock::<T>::from_raw(super_block.as_ptr()) };

    // The block device may have grown, and the volume not yet.
    let Some(range) = range.clip(super_block.volume().window().inner()) else {
        return Outcome::Declined(Reason::Unused);
    };

    if flags.contains(Flags::MEM_PRE_REMOVE) {
        let outcome = super_block.fs().notify_failure(super_block, range, flags);

        super_block.revoke();
        return outcome;
    }

    // SAFETY: `dax_srcu` is held while a holder is told.
    let _marks = unsafe { super_block.volume().mark(range) };
    let outcome = super_block.fs().notify_failure(super_block, range, flags);

    super_block.failure_work().queue();
    super_block.repair_work().queue();
    outcome
}

/// Has the filesystem mend its memory, unless it is frozen.
///
/// # Safety
///
/// `super_block` must be a superblock of type `T` whose filesystem exists.
pub(super) unsafe fn repair<T: FileSystem>(super_block: NonNull<bindings::super_block>) {
    // SAFETY: By the safety requirements.
    let super_block = unsafe { SuperBlock::<T>::from_raw(super_block.as_ptr()) };

    match InternalWrite::try_new(super_block) {
        Some(_write) => super_block.fs().repair(super_block),
        // Until it is thawed.
        None => super_block.repair_work().queue(),
    }
}

/// Calls [`SuperBlock::finish_failures()`].
///
/// # Safety
///
/// As [`mend()`].
pub(super) unsafe fn finish_failures<T: FileSystem>(super_block: NonNull<bindings::super_block>) {
    // SAFETY: By the safety requirements.
    unsafe { SuperBlock::<T>::from_raw(super_block.as_ptr()) }.finish_failures();
}
