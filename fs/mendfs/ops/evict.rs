// SPDX-License-Identifier: GPL-2.0

//! Removes inodes that have no link and are not in use any more.

use kernel::prelude::*;

use crate::{
    change::state::State,
    format::{
        Extent,
        UNITS, //
    },
    incore::{
        nodes::Place,
        position::address,
        view::View, //
    },
};

impl State {
    /// Gives up what nobody uses any more of an inode: if it has no link all of it, as much as one
    /// transaction can. Returns whether there is more. It is left for later if something must be
    /// repaired first, so that nobody has to wait.
    pub(crate) fn evict(&mut self, number: u64) -> Result<bool> {
        self.drop_cow_blocks(number, &(0..Extent::MAX_FILE_BLOCK))?;

        let node = self.view.node(number)?;
        let is_empty = node.is_empty();

        if node.inode.links != 0 {
            return Ok(false);
        }
        if self.must_repair_first() {
            self.view.change().node_mut(number)?.awaits_eviction = true;

            let place = Place::of(number);

            self.evict_from = Some(self.evict_from.map_or(place, |first| first.min(place)));
            return Ok(false);
        }
        if is_empty {
            // One at a time.
            self.remove_unused()?;
            self.view.change().node_mut(number)?.awaits_eviction = true;
            self.unused = Some(number);
            self.repair_work.schedule();
            return Ok(false);
        }
        self.remove(number)
    }

    /// Removes the inode that the next transaction was to remove, if there was none.
    ///
    /// # Errors
    ///
    /// - As [`commit()`](Self::commit).
    pub(crate) fn remove_unused(&mut self) -> Result {
        match self.unused {
            Some(_) => {
                self.begin_change()?;
                self.commit(|_| {})
            }
            None => Ok(()),
        }
    }

    /// The same if the metadata cannot grow: the next change may need the room, which is counted
    /// as free.
    ///
    /// # Errors
    ///
    /// - As [`commit()`](Self::commit).
    pub(crate) fn remove_unused_if_full(&mut self) -> Result {
        match self.unused {
            Some(_) if self.metadata.units_of_more(self.space.free_blocks()) == 0 => {
                self.remove_unused()
            }
            _ => Ok(()),
        }
    }

    /// Removes as much as one transaction can of an inode that was left to be removed later.
    /// Returns whether there is more.
    pub(crate) fn evict_waiting(&mut self) -> Result<bool> {
        let Some(first) = self.evict_from else {
            return Ok(false);
        };
        let next = self.view.nodes.find(first, |node| node.awaits_eviction);

        self.evict_from = next.map(Place::of);
        match next {
            Some(number) => self.remove(number).map(|_| true),
            None => Ok(false),
        }
    }

    /// Removes as much of an inode as one transaction can. Returns whether there is more.
    fn remove(&mut self, number: u64) -> Result<bool> {
        let all = 0..Extent::MAX_FILE_BLOCK;

        // All but the last pieces and attributes go first, so that what is left fits a transaction.
        if self.pieces_in(number, all.clone())?.1.end < all.end {
            self.cut(number, all, None)?;
            return Ok(true);
        }
        self.remove_inode(number)
    }

    /// Plans to remove attributes of an inode. Returns the positions of as many as a transaction
    /// has room for, or [`None`] if these are all.
    fn plan_attributes(&mut self, number: u64) -> Result<Option<KVec<u64>>> {
        let node = self.view.node(number)?;
        let mut room = UNITS;
        let mut removed = KVec::new();

        for position in node.attributes.keys() {
            let address = address(*position);
            let count = self.view.table.record(address)?.unit_count();
            let Some(rest) = room.checked_sub(count) else {
                return Ok(Some(removed));
            };

            self.metadata.remove(&self.view, address)?;
            removed.push(*position, GFP_KERNEL)?;
            room = rest;
        }
        Ok(None)
    }

    /// Removes an inode, or only attributes if there are many. Returns whether there is more.
    fn remove_inode(&mut self, number: u64) -> Result<bool> {
        self.begin_change()?;
        if let Some(removed) = self.plan_attributes(number)? {
            self.commit(|view| view.remove_attributes(number, &removed))?;
            return Ok(true);
        }

        let (mut plan, _) = self.plan(number, 0..Extent::MAX_FILE_BLOCK, &[])?;

        if let Some(address) = self.view.node(number)?.target {
            self.metadata.remove(&self.view, address)?;
        }
        self.metadata.remove_inode(number)?;

        self.commit(|view| {
            view.publish(number, &mut plan);
            view.nodes.remove(number);
        })?;
        self.release_cut(plan);
        Ok(false)
    }
}

impl View {
    fn remove_attributes(&mut self, number: u64, positions: &[u64]) {
        if let Ok(node) = self.node_mut(number) {
            for position in positions {
                node.attributes.remove(position);
            }
        }
    }
}
