// SPDX-License-Identifier: GPL-2.0

//! Truncates files and punches holes.

use daxmf::{
    fs::Time,
    range::{
        space,
        ByteRange, //
    },
};
use kernel::prelude::*;

use crate::{
    blocks::blocks,
    change::state::State,
    format::{
        Extent,
        BLOCK_SHIFT, //
    },
    incore::inode::from_vfs, //
};

impl State {
    /// Sets the size of a file. Unless the file grows, also removes the extents beyond the size, as
    /// many as one transaction can. Returns whether there are more.
    pub(crate) fn resize(&mut self, number: u64, size: u64, now: Time) -> Result<bool> {
        let old_size = self.view.node(number)?.inode.size;
        let end = size.div_ceil(1 << BLOCK_SHIFT);

        self.begin_change()?;
        // Only the first transaction sets the size.
        if size != old_size {
            self.edit(number, |inode| {
                inode.size = size;
                inode.modified = from_vfs(now);
                inode.changed = from_vfs(now);
            })?;
        }
        if size > old_size {
            return self.commit_contents(|_| {}).map(|()| false);
        }

        let next = self.replace(number, end..Extent::MAX_FILE_BLOCK, &[], None)?;

        if next < Extent::MAX_FILE_BLOCK {
            return Ok(true);
        }
        self.drop_cow_blocks(number, &(end..Extent::MAX_FILE_BLOCK))?;
        Ok(false)
    }

    /// Makes `range` a hole, as much of it as one transaction can. Returns whether there is more.
    pub(crate) fn punch(
        &mut self,
        number: u64,
        range: ByteRange<space::File>,
        now: Option<Time>,
    ) -> Result<bool> {
        let file = blocks(range);

        if self.cut(number, file.clone(), now)? < file.end {
            return Ok(true);
        }
        self.drop_cow_blocks(number, &file)?;
        Ok(false)
    }
}
