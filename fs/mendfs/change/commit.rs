// SPDX-License-Identifier: GPL-2.0

//! Begins a change, edits inodes and commits the change.

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
    /// Begins an operation: discards the plan of an operation that has failed.
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

    /// Plans a change of an inode, and increments its change counter.
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

    /// Plans a change of an inode, without its change counter.
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

    /// Makes the plan durable, and then visible: updates the edited inodes, and calls `publish` for
    /// the rest.
    ///
    /// # Errors
    ///
    /// - `EIO` if the journal cannot be written. Then the filesystem is shut down.
    /// - `E2BIG` if the change does not fit the journal, `ENOMEM` if memory is short. Then nothing
    ///   is changed.
    pub(crate) fn commit(&mut self, publish: impl FnOnce(&mut View)) -> Result {
        // Plan the removal of the unused inode first, because it often lies right before the first
        // edited inode. Then one write covers both.
        let unused = self.unused.filter(|_| self.metadata.has_room_for_record());

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

    /// Makes the contents that a plan adds to a file durable, and then commits the plan. Without
    /// the fence, the complete transaction could be on the media before the contents, and recovery
    /// would use the transaction.
    ///
    /// # Errors
    ///
    /// - As [`commit()`](Self::commit), and `EIO` if the device cannot be flushed.
    pub(crate) fn commit_contents(&mut self, publish: impl FnOnce(&mut View)) -> Result {
        self.volume.fence()?;
        self.commit(publish)
    }
}
