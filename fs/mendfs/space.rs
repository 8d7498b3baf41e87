// SPDX-License-Identifier: GPL-2.0

//! The blocks for data that no file has.

use core::ops::Range;

use daxmf::range::PAGE_SIZE;
use kernel::{
    alloc::KVVec,
    prelude::*, //
};

use crate::{
    contents::{
        common,
        count, //
    },
    format::{
        CHUNK_BLOCKS,
        COPIES, //
    },
};

/// Blocks that a huge page maps.
pub(crate) const HUGE: u64 = 512;

const _: () = assert!(HUGE * PAGE_SIZE == 2 << 20);

/// Blocks that a word has the bits of.
const WORD: u64 = u64::BITS as u64;

/// Blocks of a part.
const PART: u64 = HUGE * HUGE;

/// Some blocks in a row.
struct Part {
    free: u64,
    /// [`None`] as long as no block of data has been taken: all of them are free.
    bits: Option<Bits>,
}

/// A bit for each block of a part that is free, and the numbers of these, to find them by.
struct Bits {
    /// For each huge page.
    free_of_huge: KVec<u16>,
    words: KVVec<u64>,
}

impl Bits {
    /// No block is free.
    fn new() -> Result<Self> {
        // CAST: A part is small.
        Ok(Self {
            free_of_huge: KVec::from_elem(0, (PART / HUGE) as usize, GFP_KERNEL)?,
            words: KVVec::from_elem(0, (PART / WORD) as usize, GFP_KERNEL)?,
        })
    }

    /// The word that has the bit of a block.
    fn word(&self, block: u64) -> u64 {
        // CAST: A part is small.
        let index = (block % PART / WORD) as usize;

        self.words.get(index).copied().unwrap_or(0)
    }

    /// The number of free blocks of those that one huge page maps, with `block`.
    fn free_of_huge(&self, block: u64) -> u64 {
        // CAST: A part is small.
        let index = (block % PART / HUGE) as usize;

        self.free_of_huge.get(index).copied().unwrap_or(0).into()
    }

    /// Makes those of the blocks of a word free, or not free, that have a bit in `mask`. Returns
    /// how many were not.
    fn set(&mut self, block: u64, mask: u64, is_free: bool) -> u64 {
        // CAST: A part is small.
        let (word, huge) = (
            (block % PART / WORD) as usize,
            (block % PART / HUGE) as usize,
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
        *huge = match is_free {
            true => huge.saturating_add(count),
            false => huge.saturating_sub(count),
        };
        count.into()
    }
}

/// The first number behind `number` that `step`, a power of two, divides.
fn behind(number: u64, step: u64) -> u64 {
    (number | step.wrapping_sub(1)).saturating_add(1)
}

/// The `step` blocks in a row, a power of two, that `block` is one of.
fn around(block: u64, step: u64) -> Range<u64> {
    let end = behind(block, step);

    end.saturating_sub(step)..end
}

/// The bits of `blocks`, all in one word.
fn mask(blocks: &Range<u64>) -> u64 {
    match count(blocks) {
        0 => 0,
        // CAST: Less than 64.
        count => (u64::MAX >> (WORD.saturating_sub(count)) as u32) << (blocks.start % WORD) as u32,
    }
}

/// Free blocks of the device.
///
/// Parts of the device that nobody has used since the mount take no memory but a counter. All that
/// others need is there when their first block is taken. So blocks can be given back whatever
/// memory there is, and in any number of pieces.
///
/// What [`take()`](Self::take) has taken is given back by the next [`begin()`](Self::begin) unless
/// it was kept.
pub(crate) struct Space {
    data: Range<u64>,
    /// From block 0 of the device on.
    parts: KVVec<Part>,
    free: u64,
    taken: KVec<Range<u64>>,
    /// Where the search goes on if nobody wishes otherwise.
    next: u64,
    /// What files get first. Metadata grows at the ends: its copies stay apart as long as that
    /// goes.
    middle: Range<u64>,
}

/// The part of the data at either end that files get last: so much takes a copy of the metadata at
/// most, if all files are of one block.
const END: u64 = 16;

/// What of the data files get first.
fn middle(data: &Range<u64>) -> Range<u64> {
    let end = count(data) / END;

    data.start.saturating_add(end)..data.end.saturating_sub(end)
}

impl Space {
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
    pub(crate) fn free(&self) -> u64 {
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
    fn set(&mut self, blocks: Range<u64>, is_free: bool) {
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

    /// Makes blocks not free that somebody has.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn occupy(&mut self, blocks: Range<u64>) -> Result {
        self.prepare(&blocks)?;
        self.set(blocks, false);
        Ok(())
    }

    /// Takes up to `count` blocks in a row, from `goal` on if that is free. If `align`, the first
    /// is aligned as a huge page is, as far as there are such blocks.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if there is none.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn take(&mut self, count: u64, goal: u64, align: bool) -> Result<Range<u64>> {
        // The lower end next, then the upper one.
        let areas = [
            self.middle.clone(),
            self.data.start..self.middle.end,
            self.data.clone(),
        ];
        let (start, area) = areas
            .into_iter()
            .find_map(|area| Some((self.find(&area, count, goal, align)?, area)))
            .ok_or(ENOSPC)?;
        let end = start.saturating_add(count).min(area.end);
        let found = start..self.end_of_free(start..end);

        self.taken.reserve(1, GFP_KERNEL)?;
        self.occupy(found.clone())?;
        self.next = found.end;
        let _ = self.taken.push_within_capacity(found.clone());
        Ok(found)
    }

    /// Takes blocks for both copies of a chunk of the metadata: as far apart as there are.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if there are none.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn take_chunk(&mut self) -> Result<[u64; COPIES as usize]> {
        let (first, last) = (self.first_chunk(), self.last_chunk());
        let (Some(first), Some(last)) = (first, last.filter(|last| first != Some(*last))) else {
            return Err(ENOSPC);
        };
        let blocks = |start: u64| start..start.saturating_add(CHUNK_BLOCKS);

        self.prepare(&blocks(last))?;
        self.occupy(blocks(first))?;
        self.occupy(blocks(last))?;
        Ok([first, last])
    }

    /// The first free blocks that a chunk fits.
    fn first_chunk(&self) -> Option<u64> {
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
    fn last_chunk(&self) -> Option<u64> {
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
    fn first_free(&self, blocks: Range<u64>) -> Option<u64> {
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
    fn end_of_free(&self, blocks: Range<u64>) -> u64 {
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

    /// What follows the goal makes an extent longer; else go on where the last search ended, so
    /// that it does not see the same few blocks again.
    fn find(&self, area: &Range<u64>, count: u64, goal: u64, align: bool) -> Option<u64> {
        let is_huge = align && count >= HUGE;
        let goal = Some(goal).filter(|goal| area.contains(goal));
        let aligned = [goal.unwrap_or(self.next), self.next, area.start]
            .into_iter()
            .filter(|_| is_huge)
            .find_map(|from| self.first_huge(from.max(area.start)..area.end));

        aligned
            .or_else(|| goal.filter(|goal| self.first_free(*goal..area.end) == Some(*goal)))
            .or_else(|| self.first_free(self.next.max(area.start)..area.end))
            .or_else(|| self.first_free(area.clone()))
    }

    /// The first one of some blocks that a huge page of free ones starts with.
    fn first_huge(&self, blocks: Range<u64>) -> Option<u64> {
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

    /// Takes what is free of some blocks away, because it is bad. Returns the first such range.
    /// [`prepare()`](Self::prepare) has been called.
    pub(crate) fn retire(&mut self, blocks: &Range<u64>) -> Option<Range<u64>> {
        let start = self.first_free(blocks.clone())?;
        let found = start..self.end_of_free(start..blocks.end);

        self.set(found.clone(), false);
        Some(found)
    }
}

/// Where in a word a chunk fits, of which all blocks are free.
fn chunks(word: u64) -> impl Iterator<Item = u64> {
    // CAST: Chunks are shorter than a word.
    (0..WORD)
        .step_by(CHUNK_BLOCKS as usize)
        .filter(move |start| {
            let wanted = mask(&(*start..start.saturating_add(CHUNK_BLOCKS)));

            word & wanted == wanted
        })
}

/// Calls `f` with the first block and the mask of those of `blocks` that are in each word.
fn for_each_word(blocks: Range<u64>, mut f: impl FnMut(u64, u64)) {
    let mut at = blocks.start;

    while at < blocks.end {
        let next = behind(at, WORD).min(blocks.end);

        f(at, mask(&(at..next)));
        at = next;
    }
}

#[kunit_tests(daxmf_mendfs_space)]
mod tests {
    use super::*;

    /// Data from the second huge page of the first part to the middle of a word of the third.
    const DATA: Range<u64> = HUGE..2 * PART + 100;

    fn space(free: &[Range<u64>]) -> Result<Space> {
        let mut space = Space::new(DATA)?;

        space.occupy(0..u64::MAX)?;
        for blocks in free {
            space.give(blocks.clone());
        }
        Ok(space)
    }

    #[test]
    fn what_is_no_data_is_never_free() -> Result {
        let mut space = space(&[0..u64::MAX])?;

        assert_eq!(space.free(), DATA.end - DATA.start);
        // Nobody else has what files get last.
        space.occupy(space.middle.clone())?;
        assert_eq!(space.take(8, 0, false)?, HUGE..HUGE + 8);
        space.occupy(DATA.start..space.middle.end)?;
        space.next = DATA.end - 3;
        assert_eq!(space.take(8, 0, false)?, DATA.end - 3..DATA.end);
        Ok(())
    }

    #[test]
    fn files_get_the_middle_first() -> Result {
        let mut space = space(&[DATA])?;
        let middle = space.middle.clone();
        let end = middle.start - DATA.start;

        assert_eq!(end, (DATA.end - DATA.start) / END);
        assert_eq!(middle.end, DATA.end - end);
        assert_eq!(space.take(8, 0, false)?, middle.start..middle.start + 8);
        assert_eq!(space.take(8, DATA.start, false)?.start, middle.start + 8);
        assert_eq!(
            space.take(8, middle.end - 2, false)?,
            middle.end - 2..middle.end
        );
        assert_eq!(space.take(8, middle.end, false)?.start, middle.start + 16);
        assert!(space.take(HUGE, 0, true)?.start < middle.start + 2 * HUGE);
        space.occupy(middle.clone())?;
        assert_eq!(
            space.take(8, DATA.start, false)?,
            DATA.start..DATA.start + 8
        );
        // The upper end comes last.
        space.occupy(DATA.start..middle.end)?;
        assert_eq!(
            space.take(8, middle.end, false)?,
            middle.end..middle.end + 8
        );
        Ok(())
    }

    #[test]
    fn what_it_grows_by_is_free() -> Result {
        // To the middle of a word, the end of a part, and over a part that nobody has used.
        for end in [DATA.end + 3, 3 * PART, 5 * PART + 77] {
            for is_used in [false, true] {
                let mut space = Space::new(DATA)?;

                if is_used {
                    space.occupy(DATA)?;
                }

                let free = space.free();

                space.reserve(end)?;
                assert_eq!(space.free(), free);
                space.grow(end);
                assert_eq!(space.free(), free + end - DATA.end);
                assert_eq!(space.first_free(DATA.end..u64::MAX), Some(DATA.end));
                assert_eq!(space.end_of_free(DATA.end..u64::MAX), end);
                assert_eq!(space.middle, middle(&(DATA.start..end)));

                space.occupy(DATA.end..end)?;
                assert_eq!(space.free(), free);
                space.give(0..u64::MAX);
                assert_eq!(space.free(), end - DATA.start);
                assert_eq!(
                    space.last_chunk(),
                    Some((end / CHUNK_BLOCKS - 1) * CHUNK_BLOCKS)
                );
            }
        }
        Ok(())
    }

    #[test]
    fn copies_of_chunks_are_far_apart() -> Result {
        let mut space = space(&[
            HUGE + 1..HUGE + 31,
            2 * HUGE + 15..2 * HUGE + 33,
            PART + 16..PART + 64,
            2 * PART - 16..2 * PART + 15,
        ])?;

        assert_eq!(space.take_chunk()?, [2 * HUGE + 16, 2 * PART - 16]);
        assert_eq!(space.take_chunk()?, [PART + 16, PART + 48]);
        // There is only one.
        let free = space.free();

        assert_eq!(space.take_chunk(), Err(ENOSPC));
        assert_eq!(space.free(), free);
        space.begin();
        assert_eq!(space.free(), free);
        space.give(PART + 48..PART + 64);
        assert_eq!(space.take_chunk()?, [PART + 32, PART + 48]);
        assert_eq!(space.take_chunk(), Err(ENOSPC));
        Ok(())
    }

    #[test]
    fn parts_that_nobody_uses_take_no_memory() -> Result {
        let mut space = Space::new(DATA)?;
        let has_bits = |space: &Space| space.parts.iter().filter(|it| it.bits.is_some()).count();

        space.give(0..u64::MAX);
        assert_eq!(space.free(), DATA.end - DATA.start);
        assert_eq!(space.first_free(PART + 5..u64::MAX), Some(PART + 5));
        assert_eq!(space.first_huge(PART + 5..u64::MAX), Some(PART + HUGE));
        assert_eq!(space.first_huge(2 * PART..u64::MAX), None);
        assert_eq!(space.first_chunk(), Some(DATA.start));
        assert_eq!(space.last_chunk(), Some(2 * PART + 80));
        assert_eq!(space.end_of_free(HUGE..u64::MAX), DATA.end);
        assert_eq!(has_bits(&space), 0);

        assert_eq!(space.take(8, PART, false)?, PART..PART + 8);
        assert_eq!(has_bits(&space), 1);
        assert_eq!(space.free(), DATA.end - DATA.start - 8);
        assert_eq!(space.take(200, PART - 1, false)?, PART - 1..PART);
        assert_eq!(has_bits(&space), 2);
        space.begin();
        assert_eq!(space.free(), DATA.end - DATA.start);
        Ok(())
    }

    #[test]
    fn few_are_found_anywhere() -> Result {
        for block in [
            HUGE,
            2 * HUGE - 1,
            5 * HUGE + 63,
            PART - 1,
            PART,
            2 * PART + 99,
        ] {
            let mut space = space(&[block..block + 1])?;

            for next in [0, block, block + 1, PART, DATA.end] {
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
    fn a_run_goes_on_over_words_and_parts() -> Result {
        let mut space = space(&[PART - 70..PART + 130])?;

        assert_eq!(space.take(1000, PART - 65, false)?, PART - 65..PART + 130);
        assert_eq!(space.take(1000, 0, false)?, PART - 70..PART - 65);
        space.keep();
        space.begin();
        assert_eq!(space.free(), 0);
        space.give(PART - 1..PART + 1);
        space.give(PART - 2..PART + 1);
        assert_eq!(space.free(), 3);
        assert_eq!(space.retire(&(PART..DATA.end)), Some(PART..PART + 1));
        assert_eq!(space.retire(&(PART..DATA.end)), None);
        assert_eq!(space.free(), 2);
        Ok(())
    }

    #[test]
    fn huge_pages_are_found() -> Result {
        let mut space = space(&[
            HUGE..2 * HUGE - 1,
            3 * HUGE - 1..5 * HUGE,
            PART..PART + HUGE,
        ])?;
        let huge = |block: u64| block..block + HUGE;

        assert_eq!(space.take(2 * HUGE, PART - 5, true)?, huge(PART));
        assert_eq!(space.take(HUGE, 0, true)?, huge(3 * HUGE));
        assert_eq!(space.take(HUGE, 0, true)?, huge(4 * HUGE));
        // There is none any more.
        assert_eq!(space.take(HUGE, HUGE, true)?, HUGE..2 * HUGE - 1);
        assert_eq!(space.take(HUGE, 0, true)?, 3 * HUGE - 1..3 * HUGE);
        assert_eq!(space.free(), 0);
        Ok(())
    }
}
