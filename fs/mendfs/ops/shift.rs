// SPDX-License-Identifier: GPL-2.0

//! Moves the contents of a file from a byte on, to collapse or insert a range.

use daxmf::fs::Time;
use kernel::prelude::*;

use crate::{
    change::state::State,
    format::{
        Extent,
        BLOCK_SHIFT, //
    },
    incore::inode::Piece,
    ops::extents::Plan, //
};

/// The progress of a move of contents. All fields are blocks of the file.
pub(crate) struct Shift {
    from: u64,
    to: u64,
    /// If the contents move down, the extents before this block are moved already. If they move up,
    /// the extents after it are.
    next: u64,
}

impl State {
    /// Begins to move the contents of a file from byte `from` on to byte `to`. Sets the size if the
    /// file grows.
    ///
    /// # Errors
    ///
    /// - `EFBIG` if an extent would end after the longest possible file.
    pub(crate) fn start_shift(
        &mut self,
        number: u64,
        from: u64,
        to: u64,
        size: u64,
        now: Time,
    ) -> Result<Shift> {
        let (from, to) = (from >> BLOCK_SHIFT, to >> BLOCK_SHIFT);
        let distance = to.saturating_sub(from);
        let node = self.view.node(number)?;
        let last = node.last_piece_until(Extent::MAX_FILE_BLOCK);

        if last.is_some_and(|last| {
            last.extent.file_end() > Extent::MAX_FILE_BLOCK.saturating_sub(distance)
        }) {
            return Err(EFBIG);
        }
        self.begin_change()?;
        if from < to {
            self.edit(number, |inode| inode.size = size)?;
            self.volume.fence()?;
        }
        // Split an extent that contains `from`.
        self.replace(number, from..from, &[], Some(now))?;
        self.drop_cow_blocks(number, &(from..Extent::MAX_FILE_BLOCK))?;
        Ok(Shift {
            from,
            to,
            next: match to < from {
                true => from,
                false => Extent::MAX_FILE_BLOCK,
            },
        })
    }

    /// Moves as many extents as one transaction can. Starts with the extents that make room for the
    /// others. Returns whether there may be more.
    pub(crate) fn continue_shift(&mut self, number: u64, shift: &mut Shift) -> Result<bool> {
        let Shift { from, to, next } = *shift;
        let node = self.view.node(number)?;
        let max = self.max_pieces();
        let mut old = KVec::new();
        let mut next = next;

        while old.len() < max {
            let piece = match to < from {
                true => node.piece_from(next),
                false => node.last_piece_until(next),
            };
            let Some(piece) = piece.filter(|piece| piece.extent.file_block >= from) else {
                break;
            };

            old.push(piece, GFP_KERNEL)?;
            next = match to < from {
                true => piece.extent.file_end(),
                false => piece.extent.file_block,
            };
        }
        if old.is_empty() {
            return Ok(false);
        }
        self.shift_pieces(number, old, |block| {
            block.saturating_sub(from).saturating_add(to)
        })?;
        shift.next = next;
        Ok(true)
    }

    /// Moves extents to other places in the file. Merges extents that continue each other there.
    fn shift_pieces(
        &mut self,
        number: u64,
        mut old: KVec<Piece>,
        place: impl Fn(u64) -> u64,
    ) -> Result {
        let node = self.view.node(number)?;
        let previous = old.first().and_then(|first| {
            node.piece_before(place(first.extent.file_block))
                .filter(|previous| previous.extent.end() == first.extent.block)
        });
        let mut moved = KVec::new();

        if let Some(previous) = previous {
            moved.push((previous.extent, Some(previous.address)), GFP_KERNEL)?;
        }
        for Piece { extent, address } in &old {
            let extent = Extent {
                file_block: place(extent.file_block),
                ..*extent
            };

            moved.push((extent, Some(*address)), GFP_KERNEL)?;
        }
        if let Some(previous) = previous {
            old.push(previous, GFP_KERNEL)?;
        }

        let mut plan = Plan {
            old,
            new: KVec::new(),
            cut: KVec::new(),
            reservations: KVec::new(),
        };

        self.begin_change()?;
        for row in moved.chunk_by(|(extent, _), (next, _)| extent.is_followed_by(next)) {
            self.plan_row(number, row.iter().copied(), &mut plan)?;
        }
        self.reserve(&mut plan)?;
        self.commit(|view| view.publish(number, &mut plan))?;
        self.release_cut(plan);
        Ok(())
    }
}
