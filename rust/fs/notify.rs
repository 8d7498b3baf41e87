// SPDX-License-Identifier: GPL-2.0

//! The callbacks of a mounted filesystem for memory failures: at once, and about a second later.

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

/// Notifies the filesystem of a memory failure.
///
/// # Safety
///
/// Called in a callback of a holder, under `dax_srcu`, with a superblock of type `T` whose
/// `Mount<T>` exists.
pub(super) unsafe fn notify_failure<T: FileSystem>(
    super_block: NonNull<bindings::super_block>,
    range: ByteRange<space::Volume>,
    flags: Flags,
) -> Outcome {
    // SAFETY: The superblock is of type `T` and has its `Mount<T>` by the safety requirements.
    let super_block = unsafe { SuperBlock::<T>::from_raw(super_block.as_ptr()) };

    // If the block device has grown, it can be larger than the volume.
    let Some(range) = range.clip(super_block.volume().window().inner()) else {
        return Outcome::Declined(Reason::Unused);
    };

    if flags.contains(Flags::MEM_PRE_REMOVE) {
        let outcome = super_block.fs().notify_failure(super_block, range, flags);

        super_block.revoke();
        return outcome;
    }

    // SAFETY: The caller holds `dax_srcu` by the safety requirements.
    let _marks = unsafe { super_block.volume().mark(range) };
    let outcome = super_block.fs().notify_failure(super_block, range, flags);

    super_block.failure_work().queue();
    super_block.repair_work().queue();
    outcome
}

/// Calls [`FileSystem::repair()`], unless the filesystem is frozen.
///
/// # Safety
///
/// `super_block` must be a superblock of type `T` whose `Mount<T>` exists.
pub(super) unsafe fn repair<T: FileSystem>(super_block: NonNull<bindings::super_block>) {
    // SAFETY: The superblock is of type `T` and has its `Mount<T>` by the safety requirements.
    let super_block = unsafe { SuperBlock::<T>::from_raw(super_block.as_ptr()) };

    match InternalWrite::try_new(super_block) {
        Some(_write) => super_block.fs().repair(super_block),
        // The filesystem is frozen, so try again in a second.
        None => super_block.repair_work().queue(),
    }
}

/// Calls [`SuperBlock::finish_failures()`].
///
/// # Safety
///
/// As for [`repair()`].
pub(super) unsafe fn finish_failures<T: FileSystem>(super_block: NonNull<bindings::super_block>) {
    // SAFETY: The superblock is of type `T` and has its `Mount<T>` by the safety requirements.
    unsafe { SuperBlock::<T>::from_raw(super_block.as_ptr()) }.finish_failures();
}
