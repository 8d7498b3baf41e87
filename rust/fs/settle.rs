// SPDX-License-Identifier: GPL-2.0

//! What is done about pages of files some time after they have failed, and before they go.

use kernel::{
    prelude::*,
    time::{
        delay::fsleep,
        Delta, //
    },
};

use crate::{
    bindings,
    range::ByteRange, //
};

use super::{
    invalidate::Dirty,
    lock::Frozen,
    losses::Lost,
    FileSystem,
    Inode,
    SuperBlock, //
};

impl<T: FileSystem> SuperBlock<T> {
    /// Has the kernel forget the pages that have failed, and reports those that were not. Called
    /// some time after the failure.
    pub(super) fn settle(&self) {
        let mut next = usize::MAX;

        self.losses().merge();
        while let Some((index, noted)) = self.losses().before(next) {
            if self.settle_one(noted.lost) {
                self.losses().remove(index, noted);
            }
            next = index;
        }
        // Somebody uses a page in the way of direct I/O, or there was no memory.
        if !self.losses().is_empty() {
            self.settler().ask();
        }
        self.last_refs().give_up();
    }

    /// Returns false if it is to be tried again.
    fn settle_one(&self, lost: Lost) -> bool {
        if !lost.is_known {
            return match self.inode(lost.number) {
                Ok(inode) => {
                    inode.report_data_lost(lost.pages);
                    true
                }
                Err(error) => error != ENOMEM,
            };
        }

        // There is no entry without an inode.
        self.find(lost.number)
            .is_none_or(|inode| inode.forget(lost.pages, &Frozen::new(&inode)))
    }

    /// Unmaps all files, and has the kernel forget all of their pages, which are about to go.
    /// Nobody can map them any more.
    ///
    /// This waits for those who use a page through others than the mapping, as direct I/O does:
    /// they must be gone before the pages are.
    pub(super) fn revoke(&self) {
        while self.for_each_inode(|inode| inode.revoke()) {
            // An inode that is about to go forgets its pages by itself.
            fsleep(Delta::from_millis(1));
        }
    }
}

impl<T: FileSystem> Inode<T> {
    /// Has the kernel forget all pages of a file that nobody can map any more.
    fn revoke(&self) {
        if !self.is(bindings::S_IFREG) {
            return;
        }

        let mut frozen = Frozen::new(self);
        let mut dirty = Dirty::Kept;

        loop {
            match self.try_unmap(ByteRange::ALL, dirty, &frozen) {
                Ok(true) => return,
                Ok(false) => frozen.thaw(),
                Err(_) => dirty = Dirty::Discarded,
            }
        }
    }
}
