// SPDX-License-Identifier: GPL-2.0

//! Lists the segments of the volume, with their owners.

use core::ops::Range;

use daxmf::fs::{
    Segment,
    SegmentOwner,
    SegmentPosition,
    SegmentStart, //
};
use kernel::{
    alloc::KVVec,
    prelude::*, //
};

use crate::{
    blocks::bytes,
    format::BLOCK_SHIFT,
    incore::{
        owners::Owner,
        view::View, //
    },
};

/// A walk over the segments of the volume.
struct Walk<'a> {
    first: SegmentStart,
    emit: &'a mut dyn FnMut(Segment) -> bool,
    /// The end of the blocks that the walk has covered: all earlier blocks are in segments that
    /// were emitted or skipped.
    next: u64,
}

impl Walk<'_> {
    /// Emits a segment. Returns false if the walk must stop.
    fn emit(&mut self, blocks: Range<u64>, owner: SegmentOwner) -> Result<bool> {
        self.next = self.next.max(blocks.end);

        Ok((self.emit)(Segment {
            range: bytes(blocks)?,
            owner,
        }))
    }

    /// Skips an extent of a file if it comes before the first segment to emit. Returns whether it
    /// was skipped.
    fn skip(&mut self, blocks: &Range<u64>, owner: &Owner) -> bool {
        let SegmentStart::Position(first) = self.first else {
            return false;
        };
        let position = SegmentPosition {
            start: blocks.start << BLOCK_SHIFT,
            number: owner.inode,
            offset: owner.file_block << BLOCK_SHIFT,
        };
        let is_skipped = position < first;

        if is_skipped {
            self.next = self.next.max(blocks.end);
        }
        is_skipped
    }

    /// Emits the part of `blocks` from block `next` on as one segment. No file owns `blocks`.
    fn emit_rest(&mut self, blocks: Range<u64>, owner: SegmentOwner) -> Result<bool> {
        let start = blocks.start.max(self.next);

        match start < blocks.end {
            true => self.emit(start..blocks.end, owner),
            false => Ok(true),
        }
    }
}

impl View {
    pub(crate) fn segments(
        &self,
        first: SegmentStart,
        emit: &mut dyn FnMut(Segment) -> bool,
    ) -> Result {
        let geometry = self.superblock.geometry;
        let data = geometry.data();
        let [[super_0, super_1], [journal_0, journal_1], [metadata_0, metadata_1]] =
            geometry.copies();
        let gap = metadata_0.end..data.start;
        let mut walk = Walk {
            first,
            emit,
            next: match first {
                SegmentStart::Byte(byte) => byte >> BLOCK_SHIFT,
                SegmentStart::Position(position) => position.start.div_ceil(1 << BLOCK_SHIFT),
            },
        };

        for blocks in [super_0, journal_0, metadata_0] {
            if !walk.emit_rest(blocks, SegmentOwner::Metadata)? {
                return Ok(());
            }
        }
        if !walk.emit_rest(gap, SegmentOwner::Unused)? || !self.emit_data(&data, &mut walk)? {
            return Ok(());
        }
        for blocks in [metadata_1, journal_1, super_1] {
            if !walk.emit_rest(blocks, SegmentOwner::Metadata)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Emits the segments of the data. Returns false if the walk must stop.
    fn emit_data(&self, data: &Range<u64>, walk: &mut Walk<'_>) -> Result<bool> {
        let first = (walk.first.byte() >> BLOCK_SHIFT).max(data.start);
        // Collect the owners whose ranges start at the same block, because the tree does not order
        // them.
        let mut group: KVVec<(Owner, Range<u64>)> = KVVec::new();

        for (blocks, owner) in self.owners.of(first..data.end) {
            let is_group_complete = group
                .first()
                .is_some_and(|(_, first)| first.start != blocks.start);

            if is_group_complete && !self.emit_group(&mut group, walk)? {
                return Ok(false);
            }
            group.push((owner, blocks), GFP_KERNEL)?;
        }

        Ok(self.emit_group(&mut group, walk)? && self.emit_unowned(data.end, walk)?)
    }

    /// Sorts and emits the owners of ranges that start at the same block. First emits the blocks
    /// without owners that precede these ranges.
    fn emit_group(
        &self,
        group: &mut KVVec<(Owner, Range<u64>)>,
        walk: &mut Walk<'_>,
    ) -> Result<bool> {
        let start = group.first().map_or(0, |(_, blocks)| blocks.start);

        if !self.emit_unowned(start, walk)? {
            return Ok(false);
        }

        group.sort_unstable_by_key(|(owner, _)| *owner);
        for (owner, blocks) in &*group {
            if owner.chunk().is_some() {
                if !walk.emit_rest(blocks.clone(), SegmentOwner::Metadata)? {
                    return Ok(false);
                }
                continue;
            }
            if walk.skip(blocks, owner) {
                continue;
            }

            let is_alone = (blocks.clone(), false);
            let shown = SegmentOwner::File {
                number: owner.inode,
                offset: owner.file_block << BLOCK_SHIFT,
                is_shared: self.owners.shared_run(blocks.clone(), *owner) != is_alone,
            };

            if !walk.emit(blocks.clone(), shown)? {
                return Ok(false);
            }
        }
        group.clear();
        Ok(true)
    }

    /// Emits the blocks from block `next` to `end`, which have no owner.
    fn emit_unowned(&self, end: u64, walk: &mut Walk<'_>) -> Result<bool> {
        while walk.next < end {
            let (run, is_bad) = self.bad.run(&(walk.next..end));
            let owner = match is_bad {
                true => SegmentOwner::Unused,
                false => SegmentOwner::Free,
            };

            if !walk.emit(run, owner)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
