// SPDX-License-Identifier: GPL-2.0

//! The free blocks of the data area.

use core::ops::Range;

use kernel::{
    alloc::KVVec,
    prelude::*, //
};

use crate::{
    blocks::{
        count,
        intersection, //
    },
    format::CHUNK_BLOCKS,
    incore::bitmap::{
        aligned_range,
        chunks,
        for_each_word,
        mask,
        next_multiple,
        Bits,
        Part,
        HUGE,
        PART,
        WORD, //
    },
};

/// The free blocks of the data area.
///
/// A part in which no block was used since the mount has a counter only. The first use of a block
/// allocates the bitmap of its part, which exists until the unmount. So freeing blocks never
/// allocates memory, however many runs they form.
///
/// [`rollback()`](Self::rollback) frees the blocks from [`allocate()`](Self::allocate), unless
/// [`commit()`](Self::commit) was called.
pub(crate) struct FreeSpace {
    pub(super) data: Range<u64>,
    /// The first part starts at block 0 of the volume.
    pub(super) parts: KVVec<Part>,
    /// Number of free blocks.
    free: u64,
    /// Blocks that were allocated since the last commit.
    pub(super) uncommitted: KVec<Range<u64>>,
    /// The block from which a search without a goal continues.
    pub(super) next: u64,
    /// The blocks that files get first. The metadata grows from the two ends of the data, so that
    /// its copies stay far apart.
    pub(super) middle: Range<u64>,
}

/// Each of the two ends of the data is 1/16 of it. Files get blocks of the ends last. One copy of
/// the metadata fits an end, even if each file has only one block.
pub(super) const END_DIVISOR: u64 = 16;

/// The blocks of the data that files get first.
pub(super) fn middle(data: &Range<u64>) -> Range<u64> {
    let end = count(data) / END_DIVISOR;

    data.start.saturating_add(end)..data.end.saturating_sub(end)
}

impl FreeSpace {
    /// Creates the state in which all blocks of `data` are free.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn new(data: Range<u64>) -> Result<Self> {
        let mut parts = KVVec::new();

        // CAST: A part has 2^18 blocks.
        for start in (0..data.end).step_by(PART as usize) {
            let part = Part {
                free: count(&intersection(&aligned_range(start, PART), &data)),
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
            uncommitted: KVec::new(),
        })
    }

    /// Allocates the memory that [`grow()`](Self::grow) needs to extend the data to `end`.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn reserve(&mut self, end: u64) -> Result {
        // CAST: The format limits the number.
        let more = (end.div_ceil(PART) as usize).saturating_sub(self.parts.len());

        Ok(self.parts.reserve(more, GFP_KERNEL)?)
    }

    /// Extends the data to `end`. All new blocks are free. The caller has called
    /// [`reserve()`](Self::reserve).
    pub(crate) fn grow(&mut self, end: u64) {
        let new = self.data.end..end;

        // CAST: The format limits the number.
        for _ in self.parts.len()..end.div_ceil(PART) as usize {
            let _ = self.parts.push_within_capacity(Part {
                free: 0,
                bits: None,
            });
        }
        // CAST: A part has 2^18 blocks.
        for (start, part) in (0..).step_by(PART as usize).zip(self.parts.iter_mut()) {
            let added = intersection(&aligned_range(start, PART), &new);

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

    /// The word with the bit of `block`.
    fn word(&self, block: u64) -> u64 {
        match self.bits(block) {
            Some(bits) => bits.word(block),
            None => mask(&intersection(&aligned_range(block, WORD), &self.data)),
        }
    }

    /// The number of free blocks in the aligned huge page that contains `block`.
    fn free_of_huge(&self, block: u64) -> u64 {
        match self.bits(block) {
            Some(bits) => bits.free_of_huge(block),
            None => count(&intersection(&aligned_range(block, HUGE), &self.data)),
        }
    }

    /// Allocates the bitmaps that are needed to mark `blocks` as used.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn prepare(&mut self, blocks: &Range<u64>) -> Result {
        let blocks = intersection(blocks, &self.data);
        let mut at = blocks.start;

        while at < blocks.end {
            // CAST: The format limits the number.
            let part = self.parts.get_mut((at / PART) as usize).ok_or(EINVAL)?;

            if part.bits.is_none() {
                let mut bits = Bits::new()?;

                for_each_word(
                    intersection(&aligned_range(at, PART), &self.data),
                    |block, mask| {
                        bits.set(block, mask, true);
                    },
                );
                part.bits = Some(bits);
            }
            at = next_multiple(at, PART);
        }
        Ok(())
    }

    /// Marks blocks as free or used. Ignores blocks outside the data. Before a call that marks
    /// blocks as used, the caller has called [`prepare()`](Self::prepare).
    pub(super) fn set(&mut self, blocks: Range<u64>, is_free: bool) {
        let Self {
            data, parts, free, ..
        } = self;

        for_each_word(intersection(&blocks, data), |block, mask| {
            // CAST: The format limits the number.
            let Some(part) = parts.get_mut((block / PART) as usize) else {
                return;
            };
            // All blocks of a part without a bitmap are free already. Only a call that frees blocks
            // finds such a part: before any other call, `prepare()` has allocated the bitmap.
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

    /// Frees blocks. Some of them can be free already.
    pub(crate) fn free(&mut self, blocks: Range<u64>) {
        self.set(blocks, true);
    }

    /// Marks blocks as used.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn mark_used(&mut self, blocks: Range<u64>) -> Result {
        self.prepare(&blocks)?;
        self.set(blocks, false);
        Ok(())
    }

    /// The first block of the first free run that fits a copy of a chunk.
    pub(super) fn first_chunk(&self) -> Option<u64> {
        let mut at = self.data.start;

        while at < self.data.end {
            if let Some(start) = chunks(self.word(at)).next() {
                return Some(aligned_range(at, WORD).start.saturating_add(start));
            }
            at = match (self.part(at)?.free, self.free_of_huge(at)) {
                (0..CHUNK_BLOCKS, _) => next_multiple(at, PART),
                (_, 0..CHUNK_BLOCKS) => next_multiple(at, HUGE),
                _ => next_multiple(at, WORD),
            };
        }
        None
    }

    /// The first block of the last free run that fits a copy of a chunk.
    pub(super) fn last_chunk(&self) -> Option<u64> {
        let mut end = self.data.end;

        while end > self.data.start {
            let at = end.saturating_sub(1);

            if let Some(start) = chunks(self.word(at)).last() {
                return Some(aligned_range(at, WORD).start.saturating_add(start));
            }
            end = match (self.part(at)?.free, self.free_of_huge(at)) {
                (0..CHUNK_BLOCKS, _) => aligned_range(at, PART).start,
                (_, 0..CHUNK_BLOCKS) => aligned_range(at, HUGE).start,
                _ => aligned_range(at, WORD).start,
            };
        }
        None
    }

    /// The first free block in `blocks`.
    pub(super) fn first_free(&self, blocks: Range<u64>) -> Option<u64> {
        let Range { start, end } = intersection(&blocks, &self.data);
        let mut at = start;

        while at < end {
            // CAST: Less than 64.
            let word = self.word(at) >> (at % WORD) as u32;

            if word != 0 {
                let found = at.saturating_add(word.trailing_zeros().into());

                return Some(found).filter(|found| *found < end);
            }
            at = match (self.part(at)?.free, self.free_of_huge(at)) {
                (0, _) => next_multiple(at, PART),
                (_, 0) => next_multiple(at, HUGE),
                _ => next_multiple(at, WORD),
            };
        }
        None
    }

    /// The first used block in `blocks`, or their end.
    pub(super) fn end_of_free(&self, blocks: Range<u64>) -> u64 {
        let mut at = blocks.start;

        while at < blocks.end {
            // CAST: Less than 64.
            let used = !self.word(at) >> (at % WORD) as u32;

            if used != 0 {
                let end = at.saturating_add(used.trailing_zeros().into());

                return end.min(blocks.end);
            }
            at = next_multiple(at, WORD);
        }
        blocks.end
    }

    /// The first block of the first aligned huge page in `blocks` that is entirely free.
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
                true => next_multiple(at, PART),
                false => next_multiple(at, HUGE),
            };
        }
        None
    }
}
