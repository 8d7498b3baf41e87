// SPDX-License-Identifier: GPL-2.0

//! Memory failures: from blocks of the device to the files that own them.

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
        common, //
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
    /// What of an extent of a file lies in `bad`, blocks of the device.
    fn of(inode: u64, extent: Extent, bad: &Range<u64>) -> Option<Self> {
        let part = common(&extent.blocks(), bad);
        let before = part.start.saturating_sub(extent.block);
        let first = extent.file_block.saturating_add(before);
        let pages = PageRange::new(first, part.end.saturating_sub(part.start))?;

        Some(Self { inode, pages })
    }
}

impl Mendfs {
    /// Tells the owners of `range` of the volume that it is lost, and keeps others from it.
    pub(crate) fn notify_owners(
        &self,
        super_block: &SuperBlock<Self>,
        range: ByteRange<space::Volume>,
        flags: Flags,
    ) -> Result {
        let bad = blocks(range);

        // The lock is not held while they are told: a page fault that waits for it may hold what
        // `mf_dax_kill_procs()` waits for.
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

        let told = match owners {
            Ok(owners) => owners
                .iter()
                .map(|failed| super_block.notify_owners(failed.inode, failed.pages, flags))
                .fold(Ok(()), Result::and),
            Err(_) => self.notify_one_by_one(super_block, &bad, flags),
        };

        noted.and(told)
    }

    /// Tells the owners of some blocks without memory to collect them.
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
    /// The files that own a part of `blocks`.
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

    /// The first owner of a part of `blocks` in the order of files, from a block of the inode at a
    /// place on, and where to go on behind it.
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
