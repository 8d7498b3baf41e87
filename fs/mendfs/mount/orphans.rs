// SPDX-License-Identifier: GPL-2.0

//! Removes orphans: inodes without links that were open when the machine stopped.

use kernel::prelude::*;

use crate::{
    change::state::State,
    incore::nodes::Place, //
};

/// Removes all orphans. An orphan that cannot be removed stays until the next mount, and does no
/// harm. Returns false if changes must wait for repairs first.
///
/// # Errors
///
/// - `EIO` if the filesystem is shut down.
pub(crate) fn remove_orphans(state: &mut State) -> Result<bool> {
    let mut next = Place::default();
    let mut failed = 0_u64;
    let mut last_error = None;

    state.view.check()?;
    if state.must_repair_first() {
        return Ok(false);
    }

    while let Some(number) = state.view.nodes.find(next, |node| node.inode.links == 0) {
        match state.evict(number) {
            Ok(true) => {}
            Ok(false) => next = Place::of(number).next(),
            Err(error) => {
                state.view.check()?;
                failed = failed.saturating_add(1);
                last_error = Some(error);
                next = Place::of(number).next();
            }
        }
    }
    state.remove_unused()?;
    if let Some(error) = last_error {
        pr_warn!(
            "{}: {failed} inodes without a link cannot be removed: {error:?}; the next mount tries \
             again\n",
            state.volume
        );
    }
    Ok(true)
}
