// SPDX-License-Identifier: GPL-2.0

//! Reflinks: makes blocks of one file also those of another.

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
        common,
        count, //
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
    /// Notes that files share blocks.
    fn note_sharers(&mut self, numbers: [u64; 2]) -> Result {
        for number in numbers {
            self.node_mut(number)?.shares = true;
        }
        Ok(())
    }
}

impl State {
    /// Makes what is in `range` of a file also that of another from `start` on, as much as one
    /// transaction can. Returns how many bytes that are.
    pub(crate) fn share(
        &mut self,
        from: u64,
        range: ByteRange<space::File>,
        to: u64,
        start: u64,
        now: Time,
    ) -> Result<u64> {
        let (pieces, source) = self.pieces_in(from, blocks(range))?;
        let target = start >> BLOCK_SHIFT;
        let end = target.saturating_add(count(&source));
        let mut new = KVec::with_capacity(pieces.len(), GFP_KERNEL)?;

        for Piece { extent, .. } in pieces {
            let part = extent.part(common(&extent.file_blocks(), &source));
            let distance = part.file_block.saturating_sub(source.start);
            let moved = Extent {
                file_block: target.saturating_add(distance),
                ..part
            };

            new.push(moved, GFP_KERNEL)?;
        }

        // A transaction may be too small for all that lies there now; what it does must be whole.
        let mut next = target;
        while self.pieces_in(to, next..end)?.1.end < end {
            next = self.cut(to, next..end, Some(now))?;
        }

        self.view.change().note_sharers([from, to])?;
        self.begin_change()?;
        self.replace(to, target..end, &new, Some(now))?;
        self.drop_cow_blocks(to, &(target..end))?;
        Ok(count(&source) << BLOCK_SHIFT)
    }
}
