// SPDX-License-Identifier: GPL-2.0

//! Renames and exchanges names.

use daxmf::fs::{
    Time,
    Whiteout, //
};
use kernel::prelude::*;

use crate::{
    change::state::State,
    incore::{
        inode::from_vfs,
        position::address, //
    },
    ops::create::PlannedInode, //
};

/// A rename, with inodes by number.
pub(crate) struct Move<'a> {
    pub(crate) from: u64,
    pub(crate) name: &'a [u8],
    pub(crate) inode: u64,
    pub(crate) to: u64,
    pub(crate) new_name: &'a [u8],
    pub(crate) replaced: Option<u64>,
    pub(crate) whiteout: Option<&'a Whiteout>,
    pub(crate) now: Time,
}

impl State {
    pub(crate) fn rename(&mut self, it: &Move<'_>) -> Result {
        self.begin_change()?;

        let kind = self.view.node(it.inode)?.inode.kind();
        let position = self.view.name_position(it.from, it.name)?;
        let replaced = match it.replaced {
            Some(number) => Some((number, self.view.name_position(it.to, it.new_name)?)),
            None => None,
        };
        let whiteout = self.plan_old_name(it, position)?;

        self.touch(it.from, it.now)?;
        self.touch(it.to, it.now)?;
        self.move_inode(it.inode, it.from, it.to, it.now)?;

        let new_name = match replaced {
            Some((number, new_position)) => {
                self.replace_name(it.to, new_position, it.new_name, it.inode, kind)?;
                self.drop_link(it.to, number, it.now)?;
                None
            }
            None => Some(self.add_name(it.to, it.new_name, it.inode, kind)?),
        };

        self.commit(|view| {
            match whiteout {
                Some(PlannedInode {
                    number,
                    inode,
                    node,
                }) => {
                    view.nodes.insert(number, node);
                    view.point_name(it.from, position, number, inode.kind());
                }
                None => view.remove_name(it.from, position),
            }
            match (new_name, replaced) {
                (Some(name), _) => view.insert_name(it.to, name),
                (None, Some((_, position))) => view.point_name(it.to, position, it.inode, kind),
                (None, None) => (),
            }
        })
    }

    /// Exchanges two names.
    pub(crate) fn exchange(&mut self, it: &Move<'_>, other: u64) -> Result {
        self.begin_change()?;

        let kind = self.view.node(it.inode)?.inode.kind();
        let other_kind = self.view.node(other)?.inode.kind();
        let position = self.view.name_position(it.from, it.name)?;
        let new_position = self.view.name_position(it.to, it.new_name)?;

        self.replace_name(it.from, position, it.name, other, other_kind)?;
        self.replace_name(it.to, new_position, it.new_name, it.inode, kind)?;
        self.touch(it.from, it.now)?;
        self.touch(it.to, it.now)?;
        self.move_inode(it.inode, it.from, it.to, it.now)?;
        self.move_inode(other, it.to, it.from, it.now)?;

        self.commit(|view| {
            view.point_name(it.from, position, other, other_kind);
            view.point_name(it.to, new_position, it.inode, kind);
        })
    }

    /// Plans the changes of an inode, and of the links of both directories, when it moves from one
    /// to the other.
    fn move_inode(&mut self, number: u64, from: u64, to: u64, now: Time) -> Result {
        let is_directory = self.view.node(number)?.inode.is_directory();

        self.edit(number, |inode| {
            inode.changed = from_vfs(now);
            if is_directory {
                inode.parent = to;
            }
        })?;
        if is_directory && from != to {
            self.edit(from, |inode| inode.links = inode.links.saturating_sub(1))?;
            self.edit(to, |inode| inode.links = inode.links.saturating_add(1))?;
        }
        Ok(())
    }

    /// Plans to remove the old name, or to point it to a new whiteout. Returns the whiteout.
    fn plan_old_name(&mut self, it: &Move<'_>, position: u64) -> Result<Option<PlannedInode>> {
        let Some(Whiteout { attributes, labels }) = it.whiteout else {
            self.metadata.remove(&self.view, address(position))?;
            return Ok(None);
        };
        let planned = self.plan_inode(Some(it.from), attributes, None, labels)?;
        let kind = planned.inode.kind();

        self.replace_name(it.from, position, it.name, planned.number, kind)?;
        Ok(Some(planned))
    }
}
