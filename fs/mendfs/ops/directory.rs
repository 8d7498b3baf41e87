// SPDX-License-Identifier: GPL-2.0

//! Reads and changes directories.

use daxmf::fs::{
    Entry,
    Time, //
};
use kernel::{
    prelude::*,
    rbtree::RBTreeNode, //
};

use crate::{
    change::state::State,
    format::Record,
    incore::{
        inode::{
            from_vfs,
            Name, //
        },
        position::address,
        view::View, //
    },
};

impl View {
    /// Finds a name and its position.
    pub(crate) fn find_name(&self, directory: u64, name: &[u8]) -> Result<Option<(u64, Name)>> {
        let names = &self.node(directory)?.names;
        let position = self.find_in(names, name)?;

        Ok(position.and_then(|position| Some((position, *names.get(&position)?))))
    }

    /// The position of a name, or `ENOENT`.
    pub(super) fn name_position(&self, directory: u64, name: &[u8]) -> Result<u64> {
        self.find_in(&self.node(directory)?.names, name)?
            .ok_or(ENOENT)
    }

    pub(crate) fn read_directory(
        &self,
        directory: u64,
        position: u64,
        emit: &mut dyn FnMut(Entry<'_>) -> bool,
    ) -> Result {
        let names = &self.node(directory)?.names;
        let mut next = position;

        while let Some(cursor) = names.cursor_lower_bound(&next) {
            let (position, entry) = cursor.current();

            next = position.saturating_add(1);

            let goes_on = emit(Entry {
                name: self.name_at(address(*position))?,
                number: entry.target,
                mode: entry.kind,
                next,
            });

            if !goes_on {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn insert_name(&mut self, directory: u64, name: RBTreeNode<u64, Name>) {
        if let Ok(node) = self.node_mut(directory) {
            node.names.insert(name);
        }
    }

    pub(super) fn remove_name(&mut self, directory: u64, position: u64) {
        if let Ok(node) = self.node_mut(directory) {
            node.names.remove(&position);
        }
    }

    /// Changes the target of a name.
    pub(super) fn point_name(&mut self, directory: u64, position: u64, target: u64, kind: u32) {
        if let Ok(node) = self.node_mut(directory) {
            if let Some(name) = node.names.get_mut(&position) {
                name.target = target;
                name.kind = kind;
            }
        }
    }
}

impl State {
    /// Plans new times of modification and change for a directory.
    pub(super) fn touch(&mut self, directory: u64, now: Time) -> Result {
        self.edit(directory, |inode| {
            inode.modified = from_vfs(now);
            inode.changed = from_vfs(now);
        })
    }

    /// Plans the record of a new name. Returns the node for the tree of names.
    pub(super) fn add_name(
        &mut self,
        directory: u64,
        name: &[u8],
        target: u64,
        kind: u32,
    ) -> Result<RBTreeNode<u64, Name>> {
        let record = Record::Name { target, kind, name };
        let address = self.add(directory, &record)?;
        let position = self.view.position(name, address);

        RBTreeNode::new(position, Name { target, kind }, GFP_KERNEL)
    }

    /// Plans another target for the record of a name.
    pub(super) fn replace_name(
        &mut self,
        directory: u64,
        position: u64,
        name: &[u8],
        target: u64,
        kind: u32,
    ) -> Result {
        let record = Record::Name { target, kind, name };

        self.metadata.replace(address(position), directory, &record)
    }

    pub(crate) fn link(&mut self, number: u64, directory: u64, name: &[u8], now: Time) -> Result {
        self.begin_change()?;

        let inode = self.view.node(number)?.inode;
        let links = inode.links.checked_add(1).ok_or(EMLINK)?;

        self.edit(number, |inode| {
            inode.links = links;
            inode.changed = from_vfs(now);
        })?;
        self.touch(directory, now)?;
        let name = self.add_name(directory, name, number, inode.kind())?;

        self.commit(|view| view.insert_name(directory, name))
    }

    /// Plans the changes of links when an inode loses its name in `directory`.
    ///
    /// # Errors
    ///
    /// - `ENOTEMPTY` if the inode is a directory with names.
    pub(super) fn drop_link(&mut self, directory: u64, number: u64, now: Time) -> Result {
        let node = self.view.node(number)?;
        let is_directory = node.inode.is_directory();

        if is_directory && !node.names.is_empty() {
            return Err(ENOTEMPTY);
        }

        self.edit(number, |inode| {
            inode.links = match is_directory {
                true => 0,
                false => inode.links.saturating_sub(1),
            };
            inode.changed = from_vfs(now);
        })?;
        if is_directory {
            self.edit(directory, |parent| {
                parent.links = parent.links.saturating_sub(1);
            })?;
        }
        Ok(())
    }

    pub(crate) fn unlink(&mut self, directory: u64, name: &[u8], number: u64, now: Time) -> Result {
        self.begin_change()?;

        let position = self.view.name_position(directory, name)?;

        self.metadata.remove(&self.view, address(position))?;
        self.drop_link(directory, number, now)?;
        self.touch(directory, now)?;

        self.commit(|view| view.remove_name(directory, position))
    }
}
