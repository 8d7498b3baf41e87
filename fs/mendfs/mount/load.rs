// SPDX-License-Identifier: GPL-2.0

//! Reads all of a filesystem, and checks it.

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
/// - `EINVAL` if there is no filesystem, or one of another version or with unknown features.
/// - `EUCLEAN` if the filesystem is damaged.
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

    // No reader waits for the lock: the view is published later.
    load_view(&mut view.change(), metadata)?;
    find_space(&mut state)?;
    state.note_unreadable(superblock.geometry.data())?;
    if !volume.is_read_only() {
        repair_superblocks(&state);
    }
    Ok(state)
}

/// Builds the rest of the view from the table of records, and checks it.
fn load_view(view: &mut View, metadata: &Metadata) -> Result {
    read_inodes(view)?;
    read_records(view, metadata)?;
    view.check_tree()?;
    find_sharers(view, metadata)
}

/// Reads the superblock from the first intact copy. A second copy with another UUID is ignored. A
/// second copy with the same UUID can differ in the label and the UUID for mounting, or because the
/// machine stopped during growth. Any other difference is refused, because only `fsck.mendfs` can
/// find out which copy is right.
fn read_superblock(volume: &Volume) -> Result<Superblock> {
    let blocks = volume.len() >> BLOCK_SHIFT;
    let mut block: KBox<Block> = KBox::new([0; BLOCK_SIZE], GFP_KERNEL)?;
    let mut found: Option<Superblock> = None;
    let mut worst = Fault::Foreign;

    // After the volume has grown, the second copy is not in the last block of the volume. Then only
    // the first copy is checked here.
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
                        && !one.differs_in_names_only(&other)
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

/// Whether the machine stopped during growth, before the first copy `one` was replaced with
/// `other`. Then the second copy of `one` is intact, because its block becomes data only
/// afterwards. `block` is a buffer.
fn was_growing(volume: &Volume, one: &Superblock, other: &Superblock, block: &mut Block) -> bool {
    let start = one.geometry.superblock(1) << BLOCK_SHIFT;

    one.can_grow_to(other)
        && volume.read(start, block).is_ok()
        && Superblock::read(block, crc32c).is_ok_and(|second| one.differs_in_names_only(&second))
}

/// Writes the copies of the superblock whose contents are wrong. Then zeroes the superblock that an
/// interrupted growth has left in the last block of the volume.
fn repair_superblocks(state: &State) {
    let mut are_whole = true;

    for copy in 0..COPIES {
        // The repair work repairs bad copies later, because they can have failed just now.
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
    // The superblock in the last block of the volume can be the only intact one.
    if !are_whole {
        return;
    }
    if let Err(error) = state.zero_last_block() {
        pr_warn!(
            "{}: the superblock that an interrupted growth has left cannot be cleared: {error:?}\n",
            state.volume
        );
    }
}
