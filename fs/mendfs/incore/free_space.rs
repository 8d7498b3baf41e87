// SPDX-License-Identifier: GPL-2.0

//! Which blocks for data are free.

use core::ops::Range;

use kernel::{
    alloc::KVVec,
    prelude::*, //
};

use crate::{
    blocks::{
        common,
        count, //
    },
    format::CHUNK_BLOCKS,
    incore::bitmap::{
        around,
        behind,
        chunks,
        for_each_word,
        mask,
        Bits,
        Part,
        HUGE,
        PART,
        WORD, //
    },
};

/// Free blocks of the device.
///
/// Parts of the device that nobody has used since the mount take no memory but a counter. All that
/// others need is there when their first block is taken. So blocks can be given back whatever
/// memory there is, and in any number of pieces.
///
/// What [`allocate()`](Self::allocate) has taken is given back by the next
/// [`rollback()`](Self::rollback) unless it was kept.
pub(crate) struct FreeSpace {
    pub(super) data: Range<u64>,
    /// From block 0 of the device on.
    pub(super) parts: KVVec<Part>,
    free: u64,
    pub(super) taken: KVec<Range<u64>>,
    /// Where the search goes on if nobody wishes otherwise.
    pub(super) next: u64,
    /// What files get first. Metadata grows at the ends: its copies stay apart as long as that
    /// goes.
    pub(super) middle: Range<u64>,
}

/// The part of the data at either end that files get last: so much takes a copy of the metadata at
/// most, if all files are of one block.
pub(super) const END: u64 = 16;

/// What of the data files get first.
pub(super) fn middle(data: &Range<u64>) -> Range<u64> {
    let end = count(data) / END;

    data.start.saturating_add(end)..data.end.saturating_sub(end)
}

impl FreeSpace {
    /// All blocks are free.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn new(data: Range<u64>) -> Result<Self> {
        let mut parts = KVVec::new();

        // CAST: A part is small.
        for start in (0..data.end).step_by(PART as usize) {
            let part = Part {
                free: count(&common(&around(start, PART), &data)),
                bits: None,
            };

            parts.push(part, GFP_KERNEL)?;
        }

        let middle = middle(&data);

        Ok(Self {
            next: middle.start,
            middle,
            free: count(&data),
            data,
            parts,
            taken: KVec::new(),
        })
    }

    /// Allocates the memory that it needs for data that ends at `end`.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn reserve(&mut self, end: u64) -> Result {
        // CAST: The format limits the number.
        let more = (end.div_ceil(PART) as usize).saturating_sub(self.parts.len());

        Ok(self.parts.reserve(more, GFP_KERNEL)?)
    }

    /// Takes more data, up to `end`, all of which is free. [`reserve()`](Self::reserve) has been
    /// called.
    pub(crate) fn grow(&mut self, end: u64) {
        let new = self.data.end..end;

        // CAST: The format limits the number.
        for _ in self.parts.len()..end.div_ceil(PART) as usize {
            let _ = self.parts.push_within_capacity(Part {
                free: 0,
                bits: None,
            });
        }
        // CAST: A part is small.
        for (start, part) in (0..).step_by(PART as usize).zip(self.parts.iter_mut()) {
            let added = common(&around(start, PART), &new);

            part.free = part.free.saturating_add(count(&added));
            if let Some(bits) = &mut part.bits {
                for_each_word(added, |block, mask| {
                    bits.set(block, mask, true);
                });
            }
        }
        self.free = self.free.saturating_add(count(&new));
        self.data.end = end;
        self.middle = middle(&self.data);
    }

    /// Number of free blocks.
    pub(crate) fn free_blocks(&self) -> u64 {
        self.free
    }

    fn part(&self, block: u64) -> Option<&Part> {
        // CAST: The format limits the number.
        self.parts.get((block / PART) as usize)
    }

    fn bits(&self, block: u64) -> Option<&Bits> {
        self.part(block)?.bits.as_ref()
    }

    /// The word that has the bit of a block.
    fn word(&self, block: u64) -> u64 {
        match self.bits(block) {
            Some(bits) => bits.word(block),
            None => mask(&common(&around(block, WORD), &self.data)),
        }
    }

    /// The number of free blocks of those that one huge page maps, with `block`.
    fn free_of_huge(&self, block: u64) -> u64 {
        match self.bits(block) {
            Some(bits) => bits.free_of_huge(block),
            None => count(&common(&around(block, HUGE), &self.data)),
        }
    }

    /// Allocates the memory that it needs to make blocks not free.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn prepare(&mut self, blocks: &Range<u64>) -> Result {
        let blocks = common(blocks, &self.data);
        let mut at = blocks.start;

        while at < blocks.end {
            // CAST: The format limits the number.
            let part = self.parts.get_mut((at / PART) as usize).ok_or(EINVAL)?;

            if part.bits.is_none() {
                let mut bits = Bits::new()?;

                for_each_word(common(&around(at, PART), &self.data), |block, mask| {
                    bits.set(block, mask, true);
                });
                part.bits = Some(bits);
            }
            at = behind(at, PART);
        }
        Ok(())
    }

    /// Makes blocks free, or not free. Those that are already stay so, and so does what is no data.
    /// To make them not free, [`prepare()`](Self::prepare) has been called.
    pub(super) fn set(&mut self, blocks: Range<u64>, is_free: bool) {
        let Self {
            data, parts, free, ..
        } = self;

        for_each_word(common(&blocks, data), |block, mask| {
            // CAST: The format limits the number.
            let Some(part) = parts.get_mut((block / PART) as usize) else {
                return;
            };
            // Without bits, all are free.
            let Some(bits) = &mut part.bits else {
                return;
            };
            let changed = bits.set(block, mask, is_free);

            (part.free, *free) = match is_free {
                true => (
                    part.free.saturating_add(changed),
                    free.saturating_add(changed),
                ),
                false => (
                    part.free.saturating_sub(changed),
                    free.saturating_sub(changed),
                ),
            };
        });
    }

    /// Gives blocks back. Those of them that are free already stay so.
    pub(crate) fn free(&mut self, blocks: Range<u64>) {
        self.set(blocks, true);
    }

    /// Makes blocks not free that somebody has.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn mark_used(&mut self, blocks: Range<u64>) -> Result {
        self.prepare(&blocks)?;
        self.set(blocks, false);
        Ok(())
    }

    /// The first free blocks that a chunk fits.
    pub(super) fn first_chunk(&self) -> Option<u64> {
        let mut at = self.data.start;

        while at < self.data.end {
            if let Some(start) = chunks(self.word(at)).next() {
                return Some(around(at, WORD).start.saturating_add(start));
            }
            at = match (self.part(at)?.free, self.free_of_huge(at)) {
                (0..CHUNK_BLOCKS, _) => behind(at, PART),
                (_, 0..CHUNK_BLOCKS) => behind(at, HUGE),
                _ => behind(at, WORD),
            };
        }
        None
    }

    /// The last free blocks that a chunk fits.
    pub(super) fn last_chunk(&self) -> Option<u64> {
        let mut end = self.data.end;

        while end > self.data.start {
            let at = end.saturating_sub(1);

            if let Some(start) = chunks(self.word(at)).last() {
                return Some(around(at, WORD).start.saturating_add(start));
            }
            end = match (self.part(at)?.free, self.free_of_huge(at)) {
                (0..CHUNK_BLOCKS, _) => around(at, PART).start,
                (_, 0..CHUNK_BLOCKS) => around(at, HUGE).start,
                _ => around(at, WORD).start,
            };
        }
        None
    }

    /// The first free one of some blocks.
    pub(super) fn first_free(&self, blocks: Range<u64>) -> Option<u64> {
        let Range { start, end } = common(&blocks, &self.data);
        let mut at = start;

        while at < end {
            // CAST: Less than 64.
            let word = self.word(at) >> (at % WORD) as u32;

            if word != 0 {
                let found = at.saturating_add(word.trailing_zeros().into());

                return Some(found).filter(|found| *found < end);
            }
            at = match (self.part(at)?.free, self.free_of_huge(at)) {
                (0, _) => behind(at, PART),
                (_, 0) => behind(at, HUGE),
                _ => behind(at, WORD),
            };
        }
        None
    }

    /// The first of some blocks that is not free, or their end.
    pub(super) fn end_of_free(&self, blocks: Range<u64>) -> u64 {
        let mut at = blocks.start;

        while at < blocks.end {
            // CAST: Less than 64.
            let used = !self.word(at) >> (at % WORD) as u32;

            if used != 0 {
                let end = at.saturating_add(used.trailing_zeros().into());

                return end.min(blocks.end);
            }
            at = behind(at, WORD);
        }
        blocks.end
    }

    /// The first one of some blocks that a huge page of free ones starts with.
    pub(super) fn first_huge(&self, blocks: Range<u64>) -> Option<u64> {
        let mut at = blocks
            .start
            .max(self.data.start)
            .checked_next_multiple_of(HUGE)?;

        while at.saturating_add(HUGE) <= blocks.end {
            if self.free_of_huge(at) == HUGE {
                return Some(at);
            }
            at = match self.part(at)?.free < HUGE {
                true => behind(at, PART),
                false => behind(at, HUGE),
            };
        }
        None
    }
}
