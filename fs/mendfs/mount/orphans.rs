// SPDX-License-Identifier: GPL-2.0

//! Removes inodes that were in use without a link when the machine stopped.

use kernel::prelude::*;

use crate::{
    change::state::State,
    incore::view::View, //
};

impl View {
    /// The first inode from `number` on that has no link.
    fn orphan_from(&self, number: u64) -> Option<u64> {
        let mut next = number;

        while let Some(cursor) = self.inodes.cursor_lower_bound(&next) {
            let (number, node) = cursor.current();

            if node.inode.links == 0 {
                return Some(*number);
            }
            next = number.saturating_add(1);
        }
        None
    }
}

/// Removes the inodes that were in use without a link when the filesystem was last used. One that
/// cannot go stays, and is in nobody's way. Returns false if something must be repaired first.
///
/// # Errors
///
/// - `EIO` if the filesystem is shut down.
pub(crate) fn remove_orphans(state: &mut State) -> Result<bool> {
    let mut next = 0;
    let mut stay = 0_u64;
    let mut last_error = None;

    state.view.check()?;
    if state.must_repair_first() {
        return Ok(false);
    }

    while let Some(number) = state.view.orphan_from(next) {
        match state.evict(number) {
            Ok(true) => {}
            Ok(false) => next = number.saturating_add(1),
            Err(error) => {
                state.view.check()?;
                stay = stay.saturating_add(1);
                last_error = Some(error);
                next = number.saturating_add(1);
            }
        }
    }
    state.remove_unused()?;
    if let Some(error) = last_error {
        pr_warn!(
            "{}: {stay} inodes without a link cannot be removed: {error:?}; the next mount tries \
             again\n",
            state.volume
        );
    }
    Ok(true)
}
