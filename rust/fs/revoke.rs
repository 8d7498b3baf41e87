// SPDX-License-Identifier: GPL-2.0

//! Taking all files from their users, before the memory goes.

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
    /// Unmaps all files, and invalidates all of their pages, which are about to go. Nobody can map
    /// them any more.
    ///
    /// This waits for those who use a page through others than the mapping, as direct I/O does:
    /// they must be gone before the pages are.
    pub(super) fn revoke(&self) {
        while self.for_each_inode(|inode| inode.revoke()) {
            // An inode that is about to go invalidates its pages by itself.
            fsleep(Delta::from_millis(1));
        }
    }
}

impl<T: FileSystem> Inode<T> {
    /// Unmaps a file that nobody can map any more, and invalidates all of its pages.
    fn revoke(&self) {
        if !self.is(bindings::S_IFREG) {
            return;
        }

        let mut invalidate_lock = InvalidateLock::new(self);
        let mut dirty = Dirty::Kept;

        loop {
            match self.try_unmap(ByteRange::ALL, dirty, &invalidate_lock) {
                Ok(true) => return,
                Ok(false) => invalidate_lock.release_briefly(),
                Err(_) => dirty = Dirty::Discarded,
            }
        }
    }
}
