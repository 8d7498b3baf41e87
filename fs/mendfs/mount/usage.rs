// SPDX-License-Identifier: GPL-2.0

//! Finds which blocks are free, and which are shared.

use kernel::prelude::*;

use crate::{
    change::state::State,
    damage::damaged,
    incore::{
        owners::Owner,
        view::View, //
    },
    store::metadata::Metadata, //
};

/// Notes which inodes share blocks. Nobody shares those of the metadata.
///
/// Extents come in the order of where they start. One that overlaps any before it overlaps the one
/// of those that reaches farthest. If it overlaps others, too, they all have its first block: they
/// overlap each other, and are known to share.
///
/// # Errors
///
/// - `EUCLEAN` if a file has blocks of the metadata.
pub(super) fn find_sharers(view: &mut View, metadata: &Metadata) -> Result {
    let data = metadata.geometry().data();
    let View {
        owners,
        nodes,
        volume,
        ..
    } = view;
    let mut farthest: (u64, Option<Owner>) = (0, None);

    for (range, owner) in owners.of(data) {
        let (end, holder) = farthest;

        if range.start < end {
            for sharer in [holder, Some(owner)].into_iter().flatten() {
                if let Some((chunk, _)) = sharer.chunk() {
                    let what = "record of a chunk that a file has blocks of";

                    return Err(damaged(volume, metadata.chunk_record(chunk), what));
                }
                if let Some(node) = nodes.get_mut(sharer.inode) {
                    node.shares = true;
                }
            }
        }
        if range.end > end {
            farthest = (range.end, Some(owner));
        }
    }
    Ok(())
}

/// What no file has is free, or bad. The device may have been repaired since.
pub(super) fn find_space(state: &mut State) -> Result {
    let data = state.metadata.geometry().data();
    let State {
        view,
        space,
        repairs,
        ..
    } = state;
    let mut result = Ok(());
    let mut next = data.start;

    view.for_each_gap(data.clone(), |mut gap| {
        if result.is_ok() {
            result = space.mark_used(next..gap.start);
        }
        next = gap.end;
        while result.is_ok() && !gap.is_empty() {
            let (run, is_bad) = view.bad.run(&gap);

            gap.start = run.end;
            if is_bad {
                result = space
                    .mark_used(run.clone())
                    .and_then(|()| repairs.reserve(1))
                    .map(|()| repairs.add(run));
            }
        }
    });
    result.and_then(|()| space.mark_used(next..data.end))
}
