// SPDX-License-Identifier: GPL-2.0

//! A bit for each block of a part of the device that is free.

use core::ops::Range;

use daxmf::range::PAGE_SIZE;
use kernel::{
    alloc::KVVec,
    prelude::*, //
};

use crate::{
    blocks::count,
    format::CHUNK_BLOCKS, //
};

/// Blocks that a huge page maps.
pub(crate) const HUGE: u64 = 512;

const _: () = assert!(HUGE * PAGE_SIZE == 2 << 20);

/// Blocks that a word has the bits of.
pub(super) const WORD: u64 = u64::BITS as u64;

/// Blocks of a part.
pub(super) const PART: u64 = HUGE * HUGE;

/// Some blocks in a row.
pub(super) struct Part {
    pub(super) free: u64,
    /// [`None`] as long as no block of data has been taken: all of them are free.
    pub(super) bits: Option<Bits>,
}

/// A bit for each block of a part that is free, and the numbers of these, to find them by.
pub(super) struct Bits {
    /// For each huge page.
    free_of_huge: KVec<u16>,
    words: KVVec<u64>,
}

impl Bits {
    /// No block is free.
    pub(super) fn new() -> Result<Self> {
        // CAST: A part is small.
        Ok(Self {
            free_of_huge: KVec::from_elem(0, (PART / HUGE) as usize, GFP_KERNEL)?,
            words: KVVec::from_elem(0, (PART / WORD) as usize, GFP_KERNEL)?,
        })
    }

    /// The word that has the bit of a block.
    pub(super) fn word(&self, block: u64) -> u64 {
        // CAST: A part is small.
        let index = (block % PART / WORD) as usize;

        self.words.get(index).copied().unwrap_or(0)
    }

    /// The number of free blocks of those that one huge page maps, with `block`.
    pub(super) fn free_of_huge(&self, block: u64) -> u64 {
        // CAST: A part is small.
        let index = (block % PART / HUGE) as usize;

        self.free_of_huge.get(index).copied().unwrap_or(0).into()
    }

    /// Makes those of the blocks of a word free, or not free, that have a bit in `mask`. Returns
    /// how many were not.
    pub(super) fn set(&mut self, block: u64, mask: u64, is_free: bool) -> u64 {
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
pub(super) fn behind(number: u64, step: u64) -> u64 {
    (number | step.wrapping_sub(1)).saturating_add(1)
}

/// The `step` blocks in a row, a power of two, that `block` is one of.
pub(crate) fn around(block: u64, step: u64) -> Range<u64> {
    let end = behind(block, step);

    end.saturating_sub(step)..end
}

/// The bits of `blocks`, all in one word.
pub(super) fn mask(blocks: &Range<u64>) -> u64 {
    match count(blocks) {
        0 => 0,
        // CAST: Less than 64.
        count => (u64::MAX >> (WORD.saturating_sub(count)) as u32) << (blocks.start % WORD) as u32,
    }
}

/// Where in a word a chunk fits, of which all blocks are free.
pub(super) fn chunks(word: u64) -> impl Iterator<Item = u64> {
    // CAST: Chunks are shorter than a word.
    (0..WORD)
        .step_by(CHUNK_BLOCKS as usize)
        .filter(move |start| {
            let wanted = mask(&(*start..start.saturating_add(CHUNK_BLOCKS)));

            word & wanted == wanted
        })
}

/// Calls `f` with the first block and the mask of those of `blocks` that are in each word.
pub(super) fn for_each_word(blocks: Range<u64>, mut f: impl FnMut(u64, u64)) {
    let mut at = blocks.start;

    while at < blocks.end {
        let next = behind(at, WORD).min(blocks.end);

        f(at, mask(&(at..next)));
        at = next;
    }
}
