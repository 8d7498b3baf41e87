// SPDX-License-Identifier: GPL-2.0

//! The blocks for data that no file has.

use core::ops::Range;

use daxmf::range::PAGE_SIZE;
use kernel::{
    alloc::KVVec,
    prelude::*, //
};

use crate::contents::common;

/// Blocks that a huge page maps.
pub(crate) const HUGE: u64 = 512;

const _: () = assert!(HUGE * PAGE_SIZE == 2 << 20);

/// Blocks that a word has the bits of.
const WORD: u64 = u64::BITS as u64;

/// Blocks of a chunk.
const CHUNK: u64 = HUGE * HUGE;

/// A bit for each of some blocks in a row that is free, and the numbers of these, to find them by.
struct Chunk {
    free: u64,
    /// For each huge page.
    free_of_huge: KVec<u16>,
    words: KVVec<u64>,
}

impl Chunk {
    fn new() -> Result<Self> {
        // CAST: A chunk is small.
        Ok(Self {
            free: 0,
            free_of_huge: KVec::from_elem(0, (CHUNK / HUGE) as usize, GFP_KERNEL)?,
            words: KVVec::from_elem(0, (CHUNK / WORD) as usize, GFP_KERNEL)?,
        })
    }

    /// The word that has the bit of a block.
    fn word(&self, block: u64) -> u64 {
        // CAST: A chunk is small.
        let index = (block % CHUNK / WORD) as usize;

        self.words.get(index).copied().unwrap_or(0)
    }

    /// The number of free blocks of those that one huge page maps, with `block`.
    fn free_of_huge(&self, block: u64) -> u64 {
        // CAST: A chunk is small.
        let index = (block % CHUNK / HUGE) as usize;

        self.free_of_huge.get(index).copied().unwrap_or(0).into()
    }

    /// Makes those of the blocks of a word free, or not free, that have a bit in `mask`. Returns
    /// how many were not.
    fn set(&mut self, block: u64, mask: u64, is_free: bool) -> u64 {
        // CAST: A chunk is small.
        let (word, huge) = (
            (block % CHUNK / WORD) as usize,
            (block % CHUNK / HUGE) as usize,
        );
        let (Some(word), Some(huge)) = (self.words.get_mut(word), self.free_of_huge.get_mut(huge))
        else {
            return 0;
        };
        let changed = match is_free {
            true => mask & !*word,
            false => mask & *word,
        };
        // CAST: A word has 64 bits.
        let count = changed.count_ones() as u16;

        *word ^= changed;
        (*huge, self.free) = match is_free {
            true => (
                huge.saturating_add(count),
                self.free.saturating_add(count.into()),
            ),
            false => (
                huge.saturating_sub(count),
                self.free.saturating_sub(count.into()),
            ),
        };
        count.into()
    }
}

/// The first number behind `number` that `step`, a power of two, divides.
fn behind(number: u64, step: u64) -> u64 {
    (number | step.wrapping_sub(1)).saturating_add(1)
}

/// Free blocks of the device.
///
/// All memory that it needs is allocated when the filesystem is mounted: a bit for each block of
/// data. So blocks can be given back whatever memory there is, and in any number of pieces.
///
/// What [`take()`](Self::take) has taken is given back by the next [`begin()`](Self::begin) unless
/// it was kept.
pub(crate) struct Space {
    data: Range<u64>,
    /// From block 0 of the device on; those without data are not kept.
    chunks: KVVec<Option<Chunk>>,
    free: u64,
    taken: KVec<Range<u64>>,
    /// Where the search goes on if nobody wishes otherwise.
    next: u64,
}

impl Space {
    /// No blocks are free yet.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn new(data: Range<u64>) -> Result<Self> {
        let mut chunks = KVVec::new();

        for start in (0..data.end).step_by(CHUNK as usize) {
            let chunk = match start.saturating_add(CHUNK) > data.start {
                true => Some(Chunk::new()?),
                false => None,
            };

            chunks.push(chunk, GFP_KERNEL)?;
        }

        Ok(Self {
            next: data.start,
            data,
            chunks,
            free: 0,
            taken: KVec::new(),
        })
    }

    /// Number of free blocks.
    pub(crate) fn free(&self) -> u64 {
        self.free
    }

    fn chunk(&self, block: u64) -> Option<&Chunk> {
        // CAST: The format limits the number.
        self.chunks.get((block / CHUNK) as usize)?.as_ref()
    }

    /// Makes blocks free, or not free. Those that are already stay so, and so does what is no data.
    fn set(&mut self, blocks: Range<u64>, is_free: bool) {
        let blocks = common(&blocks, &self.data);
        let mut at = blocks.start;

        while at < blocks.end {
            let next = behind(at, WORD).min(blocks.end);
            // CAST: Less than 64.
            let after = (WORD.saturating_sub(next.saturating_sub(at))) as u32;
            let mask = (u64::MAX >> after) << (at % WORD) as u32;
            // CAST: The format limits the number.
            let chunk = self.chunks.get_mut((at / CHUNK) as usize);

            if let Some(Some(chunk)) = chunk {
                let changed = chunk.set(at, mask, is_free);

                self.free = match is_free {
                    true => self.free.saturating_add(changed),
                    false => self.free.saturating_sub(changed),
                };
            }
            at = next;
        }
    }

    /// Gives back what was taken since the last [`keep()`](Self::keep).
    pub(crate) fn begin(&mut self) {
        while let Some(range) = self.taken.pop() {
            self.give(range);
        }
    }

    /// Keeps what was taken.
    pub(crate) fn keep(&mut self) {
        self.taken.clear();
    }

    /// Gives blocks back. Those of them that are free already stay so.
    pub(crate) fn give(&mut self, blocks: Range<u64>) {
        self.set(blocks, true);
    }

    /// Takes up to `count` blocks in a row, from `goal` on if that is free. If `align`, the first
    /// is aligned as a huge page is, as far as there are such blocks.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if there is none.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn take(&mut self, count: u64, goal: u64, align: bool) -> Result<Range<u64>> {
        let start = self
            .find_aligned(count, goal, align)
            .or_else(|| self.find(goal))
            .ok_or(ENOSPC)?;
        let found = start..self.end_of_free(start..start.saturating_add(count));

        self.taken.reserve(1, GFP_KERNEL)?;
        self.set(found.clone(), false);
        self.next = found.end;
        let _ = self.taken.push_within_capacity(found.clone());
        Ok(found)
    }

    /// The first free block from `block` on.
    fn free_from(&self, block: u64) -> Option<u64> {
        let mut at = block.max(self.data.start);

        while at < self.data.end {
            let chunk = self.chunk(at)?;
            // CAST: Less than 64.
            let word = chunk.word(at) >> (at % WORD) as u32;

            if word != 0 {
                return Some(at.saturating_add(word.trailing_zeros().into()));
            }
            at = match (chunk.free, chunk.free_of_huge(at)) {
                (0, _) => behind(at, CHUNK),
                (_, 0) => behind(at, HUGE),
                _ => behind(at, WORD),
            };
        }
        None
    }

    /// The first of some blocks that is not free, or their end.
    fn end_of_free(&self, blocks: Range<u64>) -> u64 {
        let mut at = blocks.start;

        while at < blocks.end {
            // CAST: Less than 64.
            let used = !self.chunk(at).map_or(0, |chunk| chunk.word(at)) >> (at % WORD) as u32;

            if used != 0 {
                let end = at.saturating_add(used.trailing_zeros().into());

                return end.min(blocks.end);
            }
            at = behind(at, WORD);
        }
        blocks.end
    }

    /// What follows the goal makes an extent longer; else go on where the last search ended, so
    /// that it does not see the same few blocks again.
    fn find(&self, goal: u64) -> Option<u64> {
        match self.free_from(goal) {
            Some(block) if block == goal => Some(block),
            _ => self.free_from(self.next).or_else(|| self.free_from(0)),
        }
    }

    fn find_aligned(&self, count: u64, goal: u64, align: bool) -> Option<u64> {
        if !align || count < HUGE {
            return None;
        }

        [goal, self.next, 0]
            .into_iter()
            .find_map(|from| self.huge_from(from))
    }

    /// The first block from `block` on that a huge page of free ones starts with.
    fn huge_from(&self, block: u64) -> Option<u64> {
        let mut at = block.max(self.data.start).checked_next_multiple_of(HUGE)?;

        while at < self.data.end {
            let chunk = self.chunk(at)?;

            if chunk.free_of_huge(at) == HUGE {
                return Some(at);
            }
            at = match chunk.free < HUGE {
                true => behind(at, CHUNK),
                false => behind(at, HUGE),
            };
        }
        None
    }

    /// Takes what is free of some blocks away, because it is bad. Returns the first such range.
    pub(crate) fn retire(&mut self, blocks: &Range<u64>) -> Option<Range<u64>> {
        let start = self
            .free_from(blocks.start)
            .filter(|start| *start < blocks.end)?;
        let found = start..self.end_of_free(start..blocks.end);

        self.set(found.clone(), false);
        Some(found)
    }
}

#[kunit_tests(daxmf_mendfs_space)]
mod tests {
    use super::*;

    /// Data from the second huge page of the first chunk to the middle of a word of the third.
    const DATA: Range<u64> = HUGE..2 * CHUNK + 100;

    fn space(free: &[Range<u64>]) -> Result<Space> {
        let mut space = Space::new(DATA)?;

        for blocks in free {
            space.give(blocks.clone());
        }
        Ok(space)
    }

    #[test]
    fn what_is_no_data_is_never_free() -> Result {
        let mut space = space(&[0..u64::MAX])?;

        assert_eq!(space.free(), DATA.end - DATA.start);
        assert_eq!(space.take(8, 0, false)?, HUGE..HUGE + 8);
        space.next = DATA.end - 3;
        assert_eq!(space.take(8, 0, false)?, DATA.end - 3..DATA.end);
        assert_eq!(space.free(), DATA.end - DATA.start - 11);
        Ok(())
    }

    #[test]
    fn few_are_found_anywhere() -> Result {
        for block in [
            HUGE,
            2 * HUGE - 1,
            5 * HUGE + 63,
            CHUNK - 1,
            CHUNK,
            2 * CHUNK + 99,
        ] {
            let mut space = space(&[block..block + 1])?;

            for next in [0, block, block + 1, CHUNK, DATA.end] {
                space.next = next;
                assert_eq!(space.take(9, 7, false)?, block..block + 1);
                assert_eq!(space.free(), 0);
                assert_eq!(space.take(1, block, false), Err(ENOSPC));
                // Nobody has kept it.
                space.begin();
                assert_eq!(space.free(), 1);
            }
        }
        Ok(())
    }

    #[test]
    fn a_run_goes_on_over_words_and_chunks() -> Result {
        let mut space = space(&[CHUNK - 70..CHUNK + 130])?;

        assert_eq!(
            space.take(1000, CHUNK - 65, false)?,
            CHUNK - 65..CHUNK + 130
        );
        assert_eq!(space.take(1000, 0, false)?, CHUNK - 70..CHUNK - 65);
        space.keep();
        space.begin();
        assert_eq!(space.free(), 0);
        space.give(CHUNK - 1..CHUNK + 1);
        space.give(CHUNK - 2..CHUNK + 1);
        assert_eq!(space.free(), 3);
        assert_eq!(space.retire(&(CHUNK..DATA.end)), Some(CHUNK..CHUNK + 1));
        assert_eq!(space.retire(&(CHUNK..DATA.end)), None);
        assert_eq!(space.free(), 2);
        Ok(())
    }

    #[test]
    fn huge_pages_are_found() -> Result {
        let mut space = space(&[
            HUGE..2 * HUGE - 1,
            3 * HUGE - 1..5 * HUGE,
            CHUNK..CHUNK + HUGE,
        ])?;
        let huge = |block: u64| block..block + HUGE;

        assert_eq!(space.take(HUGE, 0, true)?, huge(3 * HUGE));
        assert_eq!(space.take(HUGE, 0, true)?, huge(4 * HUGE));
        assert_eq!(space.take(2 * HUGE, CHUNK - 5, true)?, huge(CHUNK));
        // There is none any more.
        assert_eq!(space.take(HUGE, HUGE, true)?, HUGE..2 * HUGE - 1);
        assert_eq!(space.take(HUGE, 0, true)?, 3 * HUGE - 1..3 * HUGE);
        assert_eq!(space.free(), 0);
        Ok(())
    }
}
