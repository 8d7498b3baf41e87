// SPDX-License-Identifier: GPL-2.0

//! Removes inodes without links and users.

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
    /// Evicts an inode that has no users any more. Frees its reserved blocks. If the inode has no
    /// links, also removes as much of it as one transaction can, unless the volume is read-only.
    /// Returns whether there is more.
    ///
    /// If changes must wait for repairs, the repair work removes the inode later, so that the
    /// caller does not wait.
    pub(crate) fn evict(&mut self, number: u64) -> Result<bool> {
        self.drop_cow_blocks(number, &(0..Extent::MAX_FILE_BLOCK))?;

        let node = self.view.node(number)?;
        let is_empty = node.is_empty();

        if node.inode.links != 0 || self.volume.is_read_only() {
            return Ok(false);
        }
        if self.must_repair_first() {
            self.view.change().node_mut(number)?.awaits_eviction = true;

            let place = Place::of(number);

            self.evict_from = Some(self.evict_from.map_or(place, |first| first.min(place)));
            return Ok(false);
        }
        if is_empty {
            // There is only one unused inode at a time.
            self.remove_unused()?;
            self.view.change().node_mut(number)?.awaits_eviction = true;
            self.unused = Some(number);
            self.repair_work.schedule();
            return Ok(false);
        }
        self.remove_step(number)
    }

    /// Removes the [unused](Self::unused) inode now, in a separate transaction.
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

    /// Removes the [unused](Self::unused) inode now if the metadata cannot grow. The next change
    /// can need the units of the inode, which `statfs()` reports as free.
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

    /// Removes as much as one transaction can of an inode that awaits eviction. Returns whether
    /// there may be more to remove.
    pub(crate) fn evict_waiting(&mut self) -> Result<bool> {
        let Some(first) = self.evict_from else {
            return Ok(false);
        };
        let next = self.view.nodes.find(first, |node| node.awaits_eviction);

        self.evict_from = next.map(Place::of);
        match next {
            Some(number) => self.remove_step(number).map(|_| true),
            None => Ok(false),
        }
    }

    /// Removes as much of an inode as one transaction can. Returns whether there is more.
    fn remove_step(&mut self, number: u64) -> Result<bool> {
        let all = 0..Extent::MAX_FILE_BLOCK;

        // Remove extents and attributes first, until the rest fits one transaction with the inode.
        if self.pieces_in(number, all.clone())?.1.end < all.end {
            self.cut(number, all, None)?;
            return Ok(true);
        }
        self.remove_inode(number)
    }

    /// Plans to remove attributes of an inode, as many as a transaction has room for. Returns their
    /// positions, or [`None`] if the plan removes all attributes.
    fn plan_attribute_removal(&mut self, number: u64) -> Result<Option<KVec<u64>>> {
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

    /// Removes an inode, or only some attributes if they do not fit one transaction. Returns
    /// whether there is more.
    fn remove_inode(&mut self, number: u64) -> Result<bool> {
        self.begin_change()?;
        if let Some(removed) = self.plan_attribute_removal(number)? {
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
