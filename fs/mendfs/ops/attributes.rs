// SPDX-License-Identifier: GPL-2.0

//! Sets mode, user, group, times and flags of inodes.

use daxmf::fs::{
    Attributes,
    Time, //
};
use kernel::prelude::*;

use crate::{
    change::state::State,
    incore::inode::from_vfs, //
};

impl State {
    /// Sets mode, user, group and times of an inode. The VFS has incremented the change counter.
    pub(crate) fn write_inode(&mut self, number: u64, attributes: &Attributes) -> Result {
        self.begin_change()?;
        self.edit_uncounted(number, |inode| {
            inode.mode = attributes.mode;
            inode.uid = attributes.uid;
            inode.gid = attributes.gid;
            inode.version = inode.version.max(attributes.version);
            inode.accessed = from_vfs(attributes.accessed);
            inode.modified = from_vfs(attributes.modified);
            inode.changed = from_vfs(attributes.changed);
        })?;
        self.commit(|_| {})
    }

    /// Sets the flags of an inode.
    pub(crate) fn set_flags(&mut self, number: u64, flags: u32, now: Time) -> Result {
        self.begin_change()?;
        self.edit(number, |inode| {
            inode.flags = flags;
            inode.changed = from_vfs(now);
        })?;
        self.commit(|_| {})
    }
}
