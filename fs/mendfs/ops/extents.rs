// SPDX-License-Identifier: GPL-2.0

//! Replaces extents of a file, in one transaction.

use core::ops::Range;

use daxmf::{
    fs::Time,
    interval_tree::Vacant, //
};
use kernel::{
    prelude::*,
    rbtree::RBTreeNodeReservation, //
};

use crate::{
    change::state::State,
    format::{
        Extent,
        Record,
        UNITS, //
    },
    incore::{
        inode::{
            from_vfs,
            Piece, //
        },
        owners::Owner,
        view::View, //
    },
};

/// Maximum number of extents that a transaction removes, and that it adds.
const MAX_PIECES: usize = 256;

/// Maximum number of units of a transaction that are neither extents nor the headers of their
/// blocks: attributes and their headers, and an inode with its header.
const OTHER_UNITS: usize = 2 * UNITS as usize + 3;

/// A planned replacement of extents, see [`State::plan()`].
pub(super) struct Plan {
    /// Extents that are removed.
    pub(super) old: KVec<Piece>,
    /// Extents that are added.
    pub(super) new: KVec<Piece>,
    /// Blocks of the volume that the file gives up.
    pub(super) cut: KVec<Range<u64>>,
    /// Memory for the new extents that the old ones do not provide.
    pub(super) reservations: KVec<Reservation>,
}

/// Memory for an extent.
pub(super) struct Reservation {
    node: RBTreeNodeReservation<u64, Piece>,
    vacant: Vacant<Owner>,
}

impl State {
    /// Replaces the extents in blocks `file` of a file with `new`, which are in order, and commits.
    /// The rest of `file` becomes a hole. Returns the block of the file where the transaction
    /// had to stop, or the end of `file`. If `new` is not empty, one transaction must be enough.
    pub(super) fn replace(
        &mut self,
        number: u64,
        file: Range<u64>,
        new: &[Extent],
        now: Option<Time>,
    ) -> Result<u64> {
        let (mut plan, done) = self.plan(number, file, new)?;

        if let Some(now) = now {
            self.edit(number, |inode| {
                inode.modified = from_vfs(now);
                inode.changed = from_vfs(now);
            })?;
        }

        let publish = |view: &mut View| view.publish(number, &mut plan);

        match new.is_empty() {
            true => self.commit(publish)?,
            false => self.commit_contents(publish)?,
        }
        self.release_cut(plan);
        Ok(done.end)
    }

    /// Makes blocks of a file a hole, as many as one transaction can. Returns the block of the file
    /// where the transaction had to stop, or the end of `file`.
    pub(super) fn cut(&mut self, number: u64, file: Range<u64>, now: Option<Time>) -> Result<u64> {
        self.begin_change()?;
        self.replace(number, file, &[], now)
    }

    /// Frees the blocks that the file has given up, after the plan is published.
    pub(super) fn release_cut(&mut self, plan: Plan) {
        for blocks in plan.cut {
            self.release(blocks);
        }
    }

    /// Plans to replace the extents in blocks `file` of a file with `new`, which are in order. The
    /// rest of `file` becomes a hole. Returns the plan, and the part of `file` that it is for.
    pub(super) fn plan(
        &mut self,
        number: u64,
        file: Range<u64>,
        new: &[Extent],
    ) -> Result<(Plan, Range<u64>)> {
        let (old, file) = self.pieces_in(number, file)?;
        let mut plan = Plan {
            old,
            new: KVec::new(),
            cut: KVec::new(),
            reservations: KVec::new(),
        };

        for index in 0..plan.old.len() {
            if let Some(piece) = plan.old.get(index).copied() {
                self.plan_cut(number, piece, &file, &mut plan)?;
            }
        }
        for extent in new {
            self.plan_new(number, *extent, &file, &mut plan)?;
        }

        self.reserve(&mut plan)?;
        Ok((plan, file))
    }

    /// The maximum number of extents that a transaction can remove, and add.
    pub(super) fn max_pieces(&self) -> usize {
        let room = self.metadata.room().saturating_sub(OTHER_UNITS);

        // A removed and an added extent, and for each the header of its block.
        MAX_PIECES.min(room / 4)
    }

    /// The extents that overlap blocks `file` of a file, as many as a transaction can replace.
    /// Returns them, and the part of `file` before the first extent that is left out.
    pub(super) fn pieces_in(
        &self,
        number: u64,
        mut file: Range<u64>,
    ) -> Result<(KVec<Piece>, Range<u64>)> {
        let node = self.view.node(number)?;
        let max = self.max_pieces();
        let mut pieces = KVec::new();
        let mut next = file.start;

        while let Some(piece) = node.piece_from(next) {
            if piece.extent.file_block >= file.end {
                break;
            }
            if pieces.len() == max {
                file.end = next;
                break;
            }
            pieces.push(piece, GFP_KERNEL)?;
            next = piece.extent.file_end();
        }
        Ok((pieces, file))
    }

    /// Plans to cut blocks `file` of the file out of an extent. The remaining parts become extents.
    fn plan_cut(
        &mut self,
        number: u64,
        piece: Piece,
        file: &Range<u64>,
        plan: &mut Plan,
    ) -> Result {
        let whole = piece.extent.file_blocks();
        let left = whole.start..file.start.clamp(whole.start, whole.end);
        let right = file.end.clamp(whole.start, whole.end)..whole.end;
        let cut = piece.extent.part(left.end..right.start);
        let mut address = Some(piece.address);

        if cut.count != 0 {
            plan.cut.push(cut.blocks(), GFP_KERNEL)?;
        }

        for part in [left, right] {
            if !part.is_empty() {
                let extent = piece.extent.part(part);

                self.plan_extent(number, address.take(), extent, plan)?;
            }
        }
        match address {
            Some(address) => self.metadata.remove(&self.view, address),
            None => Ok(()),
        }
    }

    /// Plans the record of an extent: at `address`, in place of the record there, or as a new
    /// record.
    fn plan_extent(
        &mut self,
        number: u64,
        address: Option<u64>,
        extent: Extent,
        plan: &mut Plan,
    ) -> Result {
        let record = Record::Extent(extent);

        let address = match address {
            Some(address) => {
                self.metadata.replace(address, number, &record)?;
                address
            }
            None => self.add(number, &record)?,
        };

        Ok(plan.new.push(Piece { extent, address }, GFP_KERNEL)?)
    }

    /// Plans a new extent in blocks `file` of the file. It is merged with the extents right before
    /// and after `file` if it continues them, in the file and on the volume.
    fn plan_new(
        &mut self,
        number: u64,
        extent: Extent,
        file: &Range<u64>,
        plan: &mut Plan,
    ) -> Result {
        let node = self.view.node(number)?;
        let previous = node
            .piece_before(file.start)
            .filter(|previous| previous.extent.is_followed_by(&extent));
        // An extent that reaches from `file` beyond its end is cut there, so it cannot be merged.
        let next = node
            .piece_from(file.end)
            .filter(|next| next.extent.file_block >= file.end)
            .filter(|next| extent.is_followed_by(&next.extent));

        for piece in [previous, next].into_iter().flatten() {
            plan.old.push(piece, GFP_KERNEL)?;
        }

        let old = |piece: Piece| (piece.extent, Some(piece.address));
        let row = [previous.map(old), Some((extent, None)), next.map(old)];

        self.plan_row(number, row.into_iter().flatten(), plan)
    }

    /// Plans to merge extents, each of which continues the previous one, into one. Each has the
    /// address of its record, if it has one. The merged extent gets the first of the records, and
    /// the others are removed.
    pub(super) fn plan_row(
        &mut self,
        number: u64,
        row: impl Iterator<Item = (Extent, Option<u64>)>,
        plan: &mut Plan,
    ) -> Result {
        let mut whole: Option<Extent> = None;
        let mut place = None;

        for (extent, address) in row {
            whole = Some(match whole {
                Some(whole) => Extent {
                    count: whole.count.saturating_add(extent.count),
                    ..whole
                },
                None => extent,
            });
            match (place, address) {
                (Some(_), Some(address)) => self.metadata.remove(&self.view, address)?,
                (Some(_), None) => {}
                (None, _) => place = address,
            }
        }
        match whole {
            Some(extent) => self.plan_extent(number, place, extent, plan),
            None => Ok(()),
        }
    }

    /// Reserves the memory to publish a plan.
    pub(super) fn reserve(&mut self, plan: &mut Plan) -> Result {
        let repairs = plan.cut.iter().fold(0, |count: usize, blocks| {
            count.saturating_add(self.max_repairs(blocks))
        });

        self.repairs.reserve(repairs)?;
        plan.reservations.reserve(plan.new.len(), GFP_KERNEL)?;
        // Each old extent provides the memory for a new one.
        for _ in plan.old.len()..plan.new.len() {
            let reservation = Reservation {
                node: RBTreeNodeReservation::new(GFP_KERNEL)?,
                vacant: Vacant::new(GFP_KERNEL)?,
            };

            plan.reservations.push(reservation, GFP_KERNEL)?;
        }
        Ok(())
    }
}

impl View {
    /// Makes a committed plan visible: replaces the extents in memory.
    pub(super) fn publish(&mut self, number: u64, plan: &mut Plan) {
        let Some(node) = self.nodes.get_mut(number) else {
            return;
        };

        for Piece { extent, .. } in &plan.old {
            let piece = node.pieces.remove_node(&extent.file_end());
            let vacant = self.owners.remove(extent.blocks(), extent.owner(number));

            node.blocks = node.blocks.saturating_sub(extent.count);
            if let (Some(piece), Some(vacant)) = (piece, vacant) {
                let node = piece.into_reservation();

                // If no new extent needs the memory, the push fails and frees it.
                let _ = plan
                    .reservations
                    .push_within_capacity(Reservation { node, vacant });
            }
        }
        for piece in &plan.new {
            let extent = piece.extent;

            // This always matches: `reserve()` has reserved the memory.
            if let Some(reservation) = plan.reservations.pop() {
                node.pieces
                    .insert(reservation.node.into_node(extent.file_end(), *piece));
                node.blocks = node.blocks.saturating_add(extent.count);
                self.owners
                    .add(reservation.vacant, extent.blocks(), extent.owner(number));
            }
        }
    }
}
