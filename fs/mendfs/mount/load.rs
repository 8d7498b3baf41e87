// SPDX-License-Identifier: GPL-2.0

//! Reads a filesystem, and checks all of it.

use daxmf::{
    crc32c::crc32c,
    fs::{
        RepairWork,
        Volume, //
    },
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

use crate::{
    change::state::State,
    format::{
        Block,
        Fault,
        Superblock,
        BLOCK_SHIFT,
        BLOCK_SIZE,
        COPIES, //
    },
    incore::view::View,
    mount::{
        records::{
            read_inodes,
            read_records, //
        },
        recover::Loader,
        usage::{
            find_sharers,
            find_space, //
        },
    },
    store::{
        journal::Journal,
        metadata::Metadata, //
    },
};

/// Reads the filesystem of a volume.
///
/// # Errors
///
/// - `EINVAL` if there is none, or one of another version or with unknown features.
/// - `EUCLEAN` if it is damaged.
/// - `ENOMEM` if memory is short.
pub(crate) fn read_filesystem(volume: &Arc<Volume>, repair_work: &RepairWork) -> Result<State> {
    let superblock = read_superblock(volume)?;
    let mut journal = Journal::new(superblock.geometry, superblock.uuid)?;
    let units = journal.read(volume)?;
    let metadata = Metadata::new(volume.clone(), superblock, journal)?;
    let mut loader = Loader {
        state: State::new(volume.clone(), repair_work.clone(), metadata)?,
        superblock,
        units,
        block: KBox::new([0; BLOCK_SIZE], GFP_KERNEL)?,
        other: KBox::new([0; BLOCK_SIZE], GFP_KERNEL)?,
    };

    for [first, second] in superblock.geometry.copies() {
        loader.state.note_unreadable(first)?;
        loader.state.note_unreadable(second)?;
    }
    loader.read_chunks()?;

    let mut state = loader.state;

    let State { view, metadata, .. } = &mut state;

    // Nobody else looks at it yet.
    load_view(&mut view.change(), metadata)?;
    find_space(&mut state)?;
    state.note_unreadable(superblock.geometry.data())?;
    if !volume.is_read_only() {
        repair_superblocks(&state);
    }
    Ok(state)
}

/// Makes known what the table has.
fn load_view(view: &mut View, metadata: &Metadata) -> Result {
    read_inodes(view)?;
    read_records(view, metadata)?;
    view.check_tree()?;
    find_sharers(view, metadata)
}

/// Reads the superblock from the first copy that is whole. The other one must not say otherwise
/// but for what it is called, or that it has grown when the machine stopped: which is right only
/// `fsck.mendfs` finds out.
fn read_superblock(volume: &Volume) -> Result<Superblock> {
    let blocks = volume.len() >> BLOCK_SHIFT;
    let mut block: KBox<Block> = KBox::new([0; BLOCK_SIZE], GFP_KERNEL)?;
    let mut found: Option<Superblock> = None;
    let mut worst = Fault::Foreign;

    // The second copy is the last block of the filesystem, which is not always that of the device.
    for start in [0, blocks.saturating_sub(1)] {
        if volume.read(start << BLOCK_SHIFT, &mut *block).is_err() {
            if found.is_none() {
                pr_warn!("{volume}: block {start:#x}: superblock cannot be read\n");
                worst = Fault::Checksum;
            }
            continue;
        }
        match Superblock::read(&block, crc32c) {
            Ok(one) if one.geometry.blocks() > blocks => worst = Fault::Geometry,
            Ok(other)
                if found.is_some_and(|one| {
                    one.uuid == other.uuid
                        && !one.is_same_but_named(&other)
                        && !was_growing(volume, &one, &other, &mut block)
                }) =>
            {
                pr_err!("{volume}: superblock: the copies are not the same\n");
                return Err(EUCLEAN);
            }
            Ok(one) => found = found.or(Some(one)),
            Err(Fault::Foreign) => {}
            Err(fault) => worst = fault,
        }
    }

    found.ok_or_else(|| {
        pr_err!("{volume}: superblock: {worst}\n");
        match worst {
            Fault::Foreign | Fault::Version(_) | Fault::Features(_) => EINVAL,
            _ => EUCLEAN,
        }
    })
}

/// Whether the machine stopped when one superblock, the first copy, was about to become the other.
/// Nobody has had the blocks of its second copy then. `block` is overwritten.
fn was_growing(volume: &Volume, one: &Superblock, other: &Superblock, block: &mut Block) -> bool {
    let start = one.geometry.superblock(1) << BLOCK_SHIFT;

    one.may_grow_to(other)
        && volume.read(start, block).is_ok()
        && Superblock::read(block, crc32c).is_ok_and(|second| one.is_same_but_named(&second))
}

/// Writes the copies of the superblock that are not as they should be, and clears what a growth
/// that was interrupted has left.
fn repair_superblocks(state: &State) {
    let mut are_whole = true;

    for copy in 0..COPIES {
        // What is bad is repaired later: it may just have failed.
        if state
            .metadata
            .bad
            .contains(state.metadata.geometry().superblock(copy))
        {
            are_whole = false;
            continue;
        }
        if let Err(error) = state.repair_superblock(copy) {
            pr_warn!(
                "{}: superblock {copy}: cannot be repaired: {error:?}\n",
                state.volume
            );
            are_whole = false;
        }
    }
    // It may be the only one that there is.
    if !are_whole {
        return;
    }
    if let Err(error) = state.clear_last_block() {
        pr_warn!(
            "{}: what is left of a growth cannot be cleared: {error:?}\n",
            state.volume
        );
    }
}
