// SPDX-License-Identifier: GPL-2.0

//! Notifies the files that own failed blocks.

use core::ops::Range;

use daxmf::{
    fs::SuperBlock,
    memory_failure::Flags,
    range::{
        space,
        ByteRange,
        PageRange, //
    },
};
use kernel::{
    alloc::KVVec,
    prelude::*, //
};

use crate::{
    blocks::{
        blocks,
        intersection, //
    },
    format::Extent,
    incore::{
        nodes::Place,
        view::View, //
    },
    mounted::Mendfs, //
};

/// Pages of a file whose blocks are bad.
#[derive(Clone, Copy)]
struct FailedPages {
    inode: u64,
    pages: PageRange<space::File>,
}

impl FailedPages {
    /// The pages of an extent of file `inode` whose blocks are in `bad`, blocks of the volume;
    /// [`None`] if there is no such page.
    fn of(inode: u64, extent: Extent, bad: &Range<u64>) -> Option<Self> {
        let part = intersection(&extent.blocks(), bad);
        let before = part.start.saturating_sub(extent.block);
        let first = extent.file_block.saturating_add(before);
        let pages = PageRange::new(first, part.end.saturating_sub(part.start))?;

        Some(Self { inode, pages })
    }
}

impl Mendfs {
    /// Notes that `range` of the volume is bad, or shuts the filesystem down if the device is about
    /// to be removed. Then notifies the files that own a part of `range`.
    pub(crate) fn notify_owners(
        &self,
        super_block: &SuperBlock<Self>,
        range: ByteRange<space::Volume>,
        flags: Flags,
    ) -> Result {
        let bad = blocks(range);

        // Notify without the lock. A page fault that waits for the lock can hold the lock of a DAX
        // entry that `mf_dax_kill_procs()` waits for.
        let (noted, owners) = self.change_any(|state| {
            if flags.contains(Flags::MEM_PRE_REMOVE) {
                state
                    .view
                    .change()
                    .shut_down("device is about to be removed");
                self.repaired.notify_all();
                return Ok((Ok(()), state.view.owners_of(&bad)));
            }
            Ok((state.note_failure(&bad), state.view.owners_of(&bad)))
        })?;

        let notified = match owners {
            Ok(owners) => owners
                .iter()
                .map(|failed| super_block.notify_owners(failed.inode, failed.pages, flags))
                .fold(Ok(()), Result::and),
            Err(_) => self.notify_one_by_one(super_block, &bad, flags),
        };

        noted.and(notified)
    }

    /// Notifies the files that own a part of `bad` one by one. This is the fallback if there is no
    /// memory to collect them under the lock.
    fn notify_one_by_one(
        &self,
        super_block: &SuperBlock<Self>,
        bad: &Range<u64>,
        flags: Flags,
    ) -> Result {
        let mut result = Ok(());
        let mut next = (Place::default(), 0);

        while let Some((place, failed)) =
            self.read_noalloc_any(|view| view.owner_from(bad, next))?
        {
            result = result.and(super_block.notify_owners(failed.inode, failed.pages, flags));
            next = place;
        }
        result
    }
}

impl View {
    /// Collects the files that own a part of `blocks`.
    fn owners_of(&self, blocks: &Range<u64>) -> Result<KVVec<FailedPages>> {
        let mut all = KVVec::new();

        for (range, owner) in self.owners.of(blocks.clone()) {
            if !owner.is_file() {
                continue;
            }

            let extent = Extent {
                file_block: owner.file_block,
                block: range.start,
                count: range.end.saturating_sub(range.start),
            };

            if let Some(failed) = FailedPages::of(owner.inode, extent, blocks) {
                all.push(failed, GFP_KERNEL)?;
            }
        }
        Ok(all)
    }

    /// Finds the next file that owns a part of `blocks`. The search visits inodes by place. It
    /// starts at the inode at `place`, from its block `block` on. Also returns where the next
    /// search starts.
    fn owner_from(
        &self,
        blocks: &Range<u64>,
        (place, mut block): (Place, u64),
    ) -> Option<((Place, u64), FailedPages)> {
        for (number, node) in self.nodes.iter_from(place) {
            while let Some(piece) = node.piece_from(block) {
                block = piece.extent.file_end();
                if let Some(failed) = FailedPages::of(number, piece.extent, blocks) {
                    return Some(((Place::of(number), block), failed));
                }
            }
            block = 0;
        }
        None
    }
}
