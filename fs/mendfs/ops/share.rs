// SPDX-License-Identifier: GPL-2.0

//! Reflinks: makes a file share blocks of another file.

use daxmf::{
    fs::Time,
    range::{
        space,
        ByteRange, //
    },
};
use kernel::prelude::*;

use crate::{
    blocks::{
        blocks,
        count,
        intersection, //
    },
    change::state::State,
    format::{
        Extent,
        BLOCK_SHIFT, //
    },
    incore::{
        inode::Piece,
        view::View, //
    },
};

impl View {
    /// Marks two inodes as sharing blocks.
    fn note_sharers(&mut self, numbers: [u64; 2]) -> Result {
        for number in numbers {
            self.node_mut(number)?.shares = true;
        }
        Ok(())
    }
}

impl State {
    /// Replaces the contents of file `to` from byte `start` on with the blocks of `range` of file
    /// `from`, as many as one transaction can. Returns the number of bytes.
    pub(crate) fn share(
        &mut self,
        from: u64,
        range: ByteRange<space::File>,
        to: u64,
        start: u64,
        now: Option<Time>,
    ) -> Result<u64> {
        let (pieces, mut source) = self.pieces_in(from, blocks(range))?;
        let target = start >> BLOCK_SHIFT;
        // One transaction must replace all extents of the target. If they are too many, share
        // fewer blocks: to remove some extents first would lose their contents in a crash.
        let (_, replaced) = self.pieces_in(to, target..target.saturating_add(count(&source)))?;
        let end = replaced.end;

        source.end = source.start.saturating_add(count(&replaced));

        let mut new = KVec::with_capacity(pieces.len(), GFP_KERNEL)?;

        for Piece { extent, .. } in pieces {
            let shared = intersection(&extent.file_blocks(), &source);

            if shared.is_empty() {
                continue;
            }

            let part = extent.part(shared);
            let distance = part.file_block.saturating_sub(source.start);
            let moved = Extent {
                file_block: target.saturating_add(distance),
                ..part
            };

            new.push(moved, GFP_KERNEL)?;
        }

        self.view.change().note_sharers([from, to])?;
        self.begin_change()?;
        self.replace(to, target..end, &new, now)?;
        self.drop_cow_blocks(to, &(target..end))?;
        Ok(count(&source) << BLOCK_SHIFT)
    }
}
