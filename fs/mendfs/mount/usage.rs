// SPDX-License-Identifier: GPL-2.0

//! Finds the free blocks, and the files with shared blocks.

use kernel::prelude::*;

use crate::{
    change::state::State,
    damage::report_damage,
    incore::{
        owners::Owner,
        view::View, //
    },
    store::metadata::Metadata, //
};

/// Marks the inodes that share blocks, and checks that no file owns blocks of a chunk.
///
/// It visits the extents in the order of their starts. An extent that overlaps any earlier extent
/// also overlaps the earlier extent with the greatest end, so the function compares only these two.
/// All other earlier extents that overlap the extent contain its first block. So they overlap each
/// other, and their inodes are marked already.
///
/// # Errors
///
/// - `EUCLEAN` if a file owns blocks of a chunk.
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
                    let what = "record of a chunk that overlaps a file";

                    return Err(report_damage(volume, metadata.chunk_record(chunk), what));
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

/// Marks blocks with owners as used. Blocks without owners are free, or bad. Queues a repair of the
/// bad blocks without owners, because a repair that failed during the last mount can succeed now.
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
