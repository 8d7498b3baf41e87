// SPDX-License-Identifier: GPL-2.0

//! A bitmap of the free blocks in a part of the volume.

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

/// Number of blocks that a huge page maps.
pub(crate) const HUGE: u64 = 512;

const _: () = assert!(HUGE * PAGE_SIZE == 2 << 20);

/// Number of blocks in a word of the bitmap.
pub(super) const WORD: u64 = u64::BITS as u64;

/// Number of blocks in a part: 1 GiB.
pub(super) const PART: u64 = HUGE * HUGE;

/// A run of [`PART`] blocks of the volume.
pub(super) struct Part {
    /// Number of free blocks.
    pub(super) free: u64,
    /// [`None`] until the first use of a block of the part. Until then, all data blocks in the part
    /// are free.
    pub(super) bits: Option<Bits>,
}

/// The bitmap of a part: a set bit is a free block. The counters speed up the search.
pub(super) struct Bits {
    /// For each huge page, the number of its free blocks.
    free_of_huge: KVec<u16>,
    words: KVVec<u64>,
}

impl Bits {
    /// A bitmap without a free block.
    pub(super) fn new() -> Result<Self> {
        // CAST: A part has 2^18 blocks.
        Ok(Self {
            free_of_huge: KVec::from_elem(0, (PART / HUGE) as usize, GFP_KERNEL)?,
            words: KVVec::from_elem(0, (PART / WORD) as usize, GFP_KERNEL)?,
        })
    }

    /// The word with the bit of `block`.
    pub(super) fn word(&self, block: u64) -> u64 {
        // CAST: A part has 2^18 blocks.
        let index = (block % PART / WORD) as usize;

        self.words.get(index).copied().unwrap_or(0)
    }

    /// The number of free blocks in the aligned huge page that contains `block`.
    pub(super) fn free_of_huge(&self, block: u64) -> u64 {
        // CAST: A part has 2^18 blocks.
        let index = (block % PART / HUGE) as usize;

        self.free_of_huge.get(index).copied().unwrap_or(0).into()
    }

    /// Marks blocks as free or used: those that have a bit in `mask`, in the word with the bit of
    /// `block`. Returns how many blocks have changed.
    pub(super) fn set(&mut self, block: u64, mask: u64, is_free: bool) -> u64 {
        // CAST: A part has 2^18 blocks.
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

/// The first multiple of `step`, a power of two, that is greater than `number`.
pub(super) fn next_multiple(number: u64, step: u64) -> u64 {
    (number | step.wrapping_sub(1)).saturating_add(1)
}

/// The aligned run of `step` blocks, a power of two, that contains `block`.
pub(crate) fn aligned_range(block: u64, step: u64) -> Range<u64> {
    let end = next_multiple(block, step);

    end.saturating_sub(step)..end
}

/// The bits of `blocks`, which are all in one word.
pub(super) fn mask(blocks: &Range<u64>) -> u64 {
    match count(blocks) {
        0 => 0,
        // CAST: Both numbers are less than 64, because `blocks` is not empty.
        count => (u64::MAX >> (WORD.saturating_sub(count)) as u32) << (blocks.start % WORD) as u32,
    }
}

/// The positions in a word at which a copy of a chunk fits: all blocks from there on are free.
pub(super) fn chunks(word: u64) -> impl Iterator<Item = u64> {
    // CAST: Chunks are shorter than a word.
    (0..WORD)
        .step_by(CHUNK_BLOCKS as usize)
        .filter(move |start| {
            let wanted = mask(&(*start..start.saturating_add(CHUNK_BLOCKS)));

            word & wanted == wanted
        })
}

/// For each word that has bits of `blocks`, calls `f` with the first of these blocks and their
/// mask.
pub(super) fn for_each_word(blocks: Range<u64>, mut f: impl FnMut(u64, u64)) {
    let mut at = blocks.start;

    while at < blocks.end {
        let next = next_multiple(at, WORD).min(blocks.end);

        f(at, mask(&(at..next)));
        at = next;
    }
}
