// SPDX-License-Identifier: GPL-2.0

//! Those who are told that contents are lost.

use kernel::prelude::*;

use crate::{
    bindings,
    memory_failure::{
        kill_procs_of,
        Flags, //
    },
    range::{
        ByteRange,
        FrameRange, //
    },
};

use super::{
    FileSystem,
    Inode, //
};

impl<T: FileSystem> Inode<T> {
    /// Sends SIGBUS to the processes that have `pages` of the file mapped, and unmaps them; pages
    /// that nobody has touched through a mapping are left out. See
    /// [`kill_procs()`](crate::memory_failure::kill_procs).
    ///
    /// May sleep. The caller holds no lock that [`FileSystem::map()`] takes, nor one that is held
    /// when it is called.
    ///
    /// # Errors
    ///
    /// - `EBUSY` if a page is not a DAX page any more.
    pub fn kill_procs(&self, pages: FrameRange, flags: Flags) -> Result {
        // SAFETY: The mapping of a valid inode is valid.
        unsafe { kill_procs_of(self.mapping(), pages, flags) }
    }

    /// Reports that `range` of the file is lost, to those who listen for errors of filesystems
    /// (`FAN_FS_ERROR`).
    ///
    /// Does not sleep for long: it may be called while holding locks of the filesystem.
    ///
    /// C: `fserror_report_data_lost()`
    pub fn report_data_lost(&self, range: ByteRange) {
        let cap = |n: u64| bindings::loff_t::try_from(n).unwrap_or(bindings::loff_t::MAX);

        // SAFETY: The inode and its superblock are valid.
        unsafe {
            bindings::fserror_report(
                self.super_block().as_raw(),
                self.as_raw(),
                bindings::fserror_type_FSERR_DATA_LOST,
                cap(range.start()),
                range.len(),
                EIO.to_errno(),
                bindings::GFP_NOFS,
            );
        }
    }
}
