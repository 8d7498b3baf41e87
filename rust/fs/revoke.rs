// SPDX-License-Identifier: GPL-2.0

//! Unmaps all files before the memory is removed.

use kernel::time::{
    delay::fsleep,
    Delta, //
};

use crate::{
    bindings,
    range::ByteRange, //
};

use super::{
    invalidate::Dirty,
    lock::InvalidateLock,
    FileSystem,
    Inode,
    SuperBlock, //
};

impl<T: FileSystem> SuperBlock<T> {
    /// Unmaps all files, and invalidates all of their pages. `map()` fails already, so no page
    /// fault maps a page again.
    ///
    /// Waits for users of a page other than mappings, such as direct I/O, because they must finish
    /// before the memory is removed.
    pub(super) fn revoke(&self) {
        while self.for_each_inode(|inode| inode.revoke()) {
            // An inode is being evicted, and the eviction invalidates its pages. Wait for the
            // eviction.
            fsleep(Delta::from_millis(1));
        }
    }
}

impl<T: FileSystem> Inode<T> {
    /// Unmaps a file and invalidates all of its pages. `map()` fails already.
    fn revoke(&self) {
        if !self.is(bindings::S_IFREG) {
            return;
        }

        let mut invalidate_lock = InvalidateLock::new(self);
        let mut dirty = Dirty::WriteBack;

        loop {
            match self.try_unmap(ByteRange::ALL, dirty, &invalidate_lock) {
                Ok(true) => return,
                Ok(false) => invalidate_lock.release_briefly(),
                Err(_) => dirty = Dirty::Discard,
            }
        }
    }
}
