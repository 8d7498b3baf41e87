// SPDX-License-Identifier: GPL-2.0

//! Begins a change, edits inodes and makes all of it durable.

use kernel::prelude::*;

use crate::{
    change::state::State,
    format::{
        Inode,
        Record, //
    },
    incore::view::View, //
};

impl State {
    /// Begins an operation.
    ///
    /// # Errors
    ///
    /// - `EIO` if the filesystem is shut down.
    pub(crate) fn begin_change(&mut self) -> Result {
        self.edits.clear();
        self.space.rollback();
        self.metadata.rollback();
        self.view.check()?;
        self.shrink();
        Ok(())
    }

    /// Changes an inode with the next commit, and counts that.
    ///
    /// # Errors
    ///
    /// - `ESTALE` if there is no inode of this number.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn edit(&mut self, number: u64, edit: impl FnOnce(&mut Inode)) -> Result {
        self.edit_uncounted(number, |inode| {
            inode.version = inode.version.saturating_add(1);
            edit(inode);
        })
    }

    /// Changes an inode with the next commit.
    ///
    /// # Errors
    ///
    /// - As [`edit()`](Self::edit).
    pub(crate) fn edit_uncounted(&mut self, number: u64, edit: impl FnOnce(&mut Inode)) -> Result {
        if let Some((_, inode)) = self.edits.iter_mut().find(|(it, _)| *it == number) {
            edit(inode);
            return Ok(());
        }

        let mut inode = self.view.node(number)?.inode;

        edit(&mut inode);
        self.edits.push((number, inode), GFP_KERNEL)?;
        Ok(())
    }

    /// Makes what was planned durable, and then visible: inodes that were edited, and what
    /// `publish` changes.
    ///
    /// # Errors
    ///
    /// - `EIO` if it cannot be written. Then the filesystem is shut down.
    /// - `E2BIG` and `ENOMEM`. Then nothing has happened.
    pub(crate) fn commit(&mut self, publish: impl FnOnce(&mut View)) -> Result {
        // It often lies right before the first inode that is edited: both are written at once.
        let unused = self.unused.filter(|_| self.metadata.has_room_beside());

        if let Some(number) = unused {
            self.metadata.remove_inode(number)?;
        }
        for (number, inode) in &self.edits {
            self.metadata
                .replace(*number, *number, &Record::Inode(*inode))?;
        }

        let edits = &mut self.edits;

        self.metadata.commit(&mut self.view, |view| {
            while let Some((number, inode)) = edits.pop() {
                if let Some(node) = view.nodes.get_mut(number) {
                    node.inode = inode;
                }
            }
            if let Some(number) = unused {
                view.nodes.remove(number);
            }
            publish(view);
        })?;
        if unused.is_some() {
            self.unused = None;
        }
        self.space.commit();
        self.shrink();
        Ok(())
    }

    /// Makes what was planned durable, and before it the contents that it makes part of a file. The
    /// journal counts as soon as all of it is there, whatever else is still on its way.
    ///
    /// # Errors
    ///
    /// - As [`commit()`](Self::commit), and `EIO` if the device cannot be flushed.
    pub(crate) fn commit_contents(&mut self, publish: impl FnOnce(&mut View)) -> Result {
        self.volume.fence()?;
        self.commit(publish)
    }
}
