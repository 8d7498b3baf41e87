// SPDX-License-Identifier: GPL-2.0

//! Gives blocks of a file other extents, in one transaction.

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

/// How many pieces a transaction replaces at most, and by how many.
const MAX_PIECES: usize = 256;

/// Units of a transaction that are not pieces or the headers of their blocks: attributes, the
/// headers of theirs, and an inode.
const OTHER_UNITS: usize = 2 * UNITS as usize + 3;

/// What [`State::plan()`] has planned.
pub(super) struct Plan {
    /// Pieces that go, as they are now.
    pub(super) old: KVec<Piece>,
    /// Pieces that come.
    pub(super) new: KVec<Piece>,
    /// Blocks of the device that the file has no more where it had them.
    pub(super) cut: KVec<Range<u64>>,
    pub(super) rooms: KVec<Room>,
}

/// Memory for a piece.
pub(super) struct Room {
    node: RBTreeNodeReservation<u64, Piece>,
    vacant: Vacant<Owner>,
}

impl State {
    /// Makes blocks of a file those of `new`, in order, and a hole where there are none, in one
    /// transaction. Returns how far that has come; if there are new ones, it must be all the way.
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

    /// Makes blocks of a file a hole, as many as one transaction can.
    pub(super) fn cut(&mut self, number: u64, file: Range<u64>, now: Option<Time>) -> Result<u64> {
        self.begin_change()?;
        self.replace(number, file, &[], now)
    }

    /// Makes free what a plan has cut, once it is published.
    pub(super) fn release_cut(&mut self, plan: Plan) {
        for blocks in plan.cut {
            self.release(blocks);
        }
    }

    /// Plans that blocks of a file are those of `new`, in order, and a hole where there are none.
    /// Returns the plan, and how far it goes.
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
            rooms: KVec::new(),
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

    /// How many pieces a transaction can replace, and by how many, each with the header of its
    /// block.
    pub(super) fn max_pieces(&self) -> usize {
        let room = self.metadata.room().saturating_sub(OTHER_UNITS);

        MAX_PIECES.min(room / 4)
    }

    /// The pieces of a file that touch blocks, not too many, and the blocks as far as these go.
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

    /// Plans what is left of a piece when blocks are cut out of it.
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

    /// Plans the record of a piece, in the place of another or as a new one.
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

    /// Plans a new piece among those blocks of a file that are planned. It becomes one with the
    /// pieces before and behind these that it lies in a row with.
    fn plan_new(
        &mut self,
        number: u64,
        extent: Extent,
        file: &Range<u64>,
        plan: &mut Plan,
    ) -> Result {
        let node = self.view.node(number)?;
        let before = node
            .piece_before(file.start)
            .filter(|before| before.extent.is_followed_by(&extent));
        let behind = node
            .piece_from(file.end)
            .filter(|behind| extent.is_followed_by(&behind.extent));

        for piece in [before, behind].into_iter().flatten() {
            plan.old.push(piece, GFP_KERNEL)?;
        }

        let old = |piece: Piece| (piece.extent, Some(piece.address));
        let row = [before.map(old), Some((extent, None)), behind.map(old)];

        self.plan_row(number, row.into_iter().flatten(), plan)
    }

    /// Plans one piece of extents that lie in a row, in the place of the first record that one of
    /// them has. The others go.
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
                Some(before) => Extent {
                    count: before.count.saturating_add(extent.count),
                    ..before
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

    /// Reserves the memory that it takes to carry a plan out.
    pub(super) fn reserve(&mut self, plan: &mut Plan) -> Result {
        let repairs = plan.cut.iter().fold(0, |count: usize, blocks| {
            count.saturating_add(self.max_repairs(blocks))
        });

        self.repairs.reserve(repairs)?;
        plan.rooms.reserve(plan.new.len(), GFP_KERNEL)?;
        // The pieces that go leave theirs.
        for _ in plan.old.len()..plan.new.len() {
            let room = Room {
                node: RBTreeNodeReservation::new(GFP_KERNEL)?,
                vacant: Vacant::new(GFP_KERNEL)?,
            };

            plan.rooms.push(room, GFP_KERNEL)?;
        }
        Ok(())
    }
}

impl View {
    /// Carries out what was planned and committed.
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

                // Without room for it, it is freed.
                let _ = plan.rooms.push_within_capacity(Room { node, vacant });
            }
        }
        for piece in &plan.new {
            let extent = piece.extent;

            // There is one: it was reserved.
            if let Some(room) = plan.rooms.pop() {
                node.pieces
                    .insert(room.node.into_node(extent.file_end(), *piece));
                node.blocks = node.blocks.saturating_add(extent.count);
                self.owners
                    .add(room.vacant, extent.blocks(), extent.owner(number));
            }
        }
    }
}
