// SPDX-License-Identifier: GPL-2.0

//! Allocates free blocks for files and for the metadata.

use core::ops::Range;

use kernel::prelude::*;

use crate::{
    format::{
        CHUNK_BLOCKS,
        COPIES, //
    },
    incore::{
        bitmap::HUGE,
        free_space::FreeSpace, //
    },
};

impl FreeSpace {
    /// Frees the blocks that were allocated since the last [`commit()`](Self::commit).
    pub(crate) fn rollback(&mut self) {
        while let Some(range) = self.uncommitted.pop() {
            self.free(range);
        }
    }

    /// Makes the allocations since the last commit permanent.
    pub(crate) fn commit(&mut self) {
        self.uncommitted.clear();
    }

    /// Allocates a run of up to `count` blocks. It starts at `goal` if that block is free. If
    /// `align` is set and `count` is at least a huge page, it prefers to start at a free huge page,
    /// and ends with a huge page, so that the next run can start at one.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if no block is free.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn allocate(
        &mut self,
        count: u64,
        goal: Option<u64>,
        align: bool,
    ) -> Result<Range<u64>> {
        // First the middle, then also the lower end, then also the upper end.
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
        let end = self.end_of_free(start..end);
        let found = match end.saturating_sub(start) {
            length if align && length >= HUGE => start..end.saturating_sub(length % HUGE),
            _ => start..end,
        };

        self.uncommitted.reserve(1, GFP_KERNEL)?;
        self.mark_used(found.clone())?;
        if goal != Some(found.start) {
            self.next = found.end;
        }
        let _ = self.uncommitted.push_within_capacity(found.clone());
        Ok(found)
    }

    /// Finds a free huge page in the middle of the data. Later searches continue after it.
    pub(crate) fn next_huge(&mut self) -> Option<u64> {
        let start = self.find_huge(&self.middle, None)?;

        self.next = start.saturating_add(HUGE);
        Some(start)
    }

    pub(crate) fn is_free(&self, block: u64) -> bool {
        self.first_free(block..block.saturating_add(1)).is_some()
    }

    /// Allocates blocks for both copies of a chunk of the metadata, as far apart as possible.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if no two free runs fit the copies.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn allocate_chunk(&mut self) -> Result<[u64; COPIES as usize]> {
        let (first, last) = (self.first_chunk(), self.last_chunk());
        let (Some(first), Some(last)) = (first, last.filter(|last| first != Some(*last))) else {
            return Err(ENOSPC);
        };
        let blocks = |start: u64| start..start.saturating_add(CHUNK_BLOCKS);

        self.prepare(&blocks(last))?;
        self.mark_used(blocks(first))?;
        self.mark_used(blocks(last))?;
        Ok([first, last])
    }

    /// Finds the first block of a free run in `area`. The goal comes first, because the blocks
    /// there extend an extent. Otherwise the search continues where the last one ended, so that it
    /// does not visit the same used blocks again.
    fn find(&self, area: &Range<u64>, count: u64, goal: Option<u64>, align: bool) -> Option<u64> {
        let goal = goal.filter(|goal| area.contains(goal));
        let aligned = match align && count >= HUGE {
            true => self.find_huge(area, goal),
            false => None,
        };

        aligned
            .or_else(|| goal.filter(|goal| self.is_free(*goal)))
            .or_else(|| self.first_free(self.next.max(area.start)..area.end))
            .or_else(|| self.first_free(area.clone()))
    }

    /// Finds a free huge page in `area`: from the goal on, from where the last search ended, or
    /// anywhere.
    fn find_huge(&self, area: &Range<u64>, goal: Option<u64>) -> Option<u64> {
        [goal.unwrap_or(self.next), self.next, area.start]
            .into_iter()
            .find_map(|from| self.first_huge(from.max(area.start)..area.end))
    }

    /// Marks the first free run in `blocks` as used, because it is bad. Returns the run, or
    /// [`None`] if no block is free. The caller has called [`prepare()`](Self::prepare).
    pub(crate) fn mark_bad(&mut self, blocks: &Range<u64>) -> Option<Range<u64>> {
        let start = self.first_free(blocks.clone())?;
        let found = start..self.end_of_free(start..blocks.end);

        self.set(found.clone(), false);
        Some(found)
    }
}

#[kunit_tests(daxmf_mendfs_space)]
mod tests {
    use super::*;
    use crate::incore::{
        bitmap::PART,
        free_space::{
            middle,
            END_DIVISOR, //
        },
    };

    /// Data from the second huge page of the first part to the middle of a word of the third.
    const DATA: Range<u64> = HUGE..2 * PART + 100;

    fn space(free: &[Range<u64>]) -> Result<FreeSpace> {
        let mut space = FreeSpace::new(DATA)?;

        space.mark_used(0..u64::MAX)?;
        for blocks in free {
            space.free(blocks.clone());
        }
        Ok(space)
    }

    #[test]
    fn blocks_outside_the_data_are_never_free() -> Result {
        let mut space = space(&[0..u64::MAX])?;

        assert_eq!(space.free_blocks(), DATA.end - DATA.start);
        // Only the two ends are free now.
        space.mark_used(space.middle.clone())?;
        assert_eq!(space.allocate(8, Some(0), false)?, HUGE..HUGE + 8);
        space.mark_used(DATA.start..space.middle.end)?;
        space.next = DATA.end - 3;
        assert_eq!(space.allocate(8, Some(0), false)?, DATA.end - 3..DATA.end);
        Ok(())
    }

    #[test]
    fn files_get_the_middle_first() -> Result {
        let mut space = space(&[DATA])?;
        let middle = space.middle.clone();
        let end = middle.start - DATA.start;

        assert_eq!(end, (DATA.end - DATA.start) / END_DIVISOR);
        assert_eq!(middle.end, DATA.end - end);
        assert_eq!(
            space.allocate(8, Some(0), false)?,
            middle.start..middle.start + 8
        );
        assert_eq!(
            space.allocate(8, Some(DATA.start), false)?.start,
            middle.start + 8
        );
        assert_eq!(
            space.allocate(8, Some(middle.end - 2), false)?,
            middle.end - 2..middle.end
        );
        assert_eq!(
            space.allocate(8, Some(middle.end), false)?.start,
            middle.start + 16
        );
        assert!(space.allocate(HUGE, Some(0), true)?.start < middle.start + 2 * HUGE);
        space.mark_used(middle.clone())?;
        assert_eq!(
            space.allocate(8, Some(DATA.start), false)?,
            DATA.start..DATA.start + 8
        );
        // The upper end comes last.
        space.mark_used(DATA.start..middle.end)?;
        assert_eq!(
            space.allocate(8, Some(middle.end), false)?,
            middle.end..middle.end + 8
        );
        Ok(())
    }

    #[test]
    fn new_blocks_after_growth_are_free() -> Result {
        // Grow to the middle of a word, to the end of a part, and over an unused part.
        for end in [DATA.end + 3, 3 * PART, 5 * PART + 77] {
            for is_used in [false, true] {
                let mut space = FreeSpace::new(DATA)?;

                if is_used {
                    space.mark_used(DATA)?;
                }

                let free = space.free_blocks();

                space.reserve(end)?;
                assert_eq!(space.free_blocks(), free);
                space.grow(end);
                assert_eq!(space.free_blocks(), free + end - DATA.end);
                assert_eq!(space.first_free(DATA.end..u64::MAX), Some(DATA.end));
                assert_eq!(space.end_of_free(DATA.end..u64::MAX), end);
                assert_eq!(space.middle, middle(&(DATA.start..end)));

                space.mark_used(DATA.end..end)?;
                assert_eq!(space.free_blocks(), free);
                space.free(0..u64::MAX);
                assert_eq!(space.free_blocks(), end - DATA.start);
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

        assert_eq!(space.allocate_chunk()?, [2 * HUGE + 16, 2 * PART - 16]);
        assert_eq!(space.allocate_chunk()?, [PART + 16, PART + 48]);
        // Only one free run fits a copy.
        let free = space.free_blocks();

        assert_eq!(space.allocate_chunk(), Err(ENOSPC));
        assert_eq!(space.free_blocks(), free);
        space.rollback();
        assert_eq!(space.free_blocks(), free);
        space.free(PART + 48..PART + 64);
        assert_eq!(space.allocate_chunk()?, [PART + 32, PART + 48]);
        assert_eq!(space.allocate_chunk(), Err(ENOSPC));
        Ok(())
    }

    #[test]
    fn unused_parts_have_no_bitmap() -> Result {
        let mut space = FreeSpace::new(DATA)?;
        let has_bits =
            |space: &FreeSpace| space.parts.iter().filter(|it| it.bits.is_some()).count();

        space.free(0..u64::MAX);
        assert_eq!(space.free_blocks(), DATA.end - DATA.start);
        assert_eq!(space.first_free(PART + 5..u64::MAX), Some(PART + 5));
        assert_eq!(space.first_huge(PART + 5..u64::MAX), Some(PART + HUGE));
        assert_eq!(space.first_huge(2 * PART..u64::MAX), None);
        assert_eq!(space.first_chunk(), Some(DATA.start));
        assert_eq!(space.last_chunk(), Some(2 * PART + 80));
        assert_eq!(space.end_of_free(HUGE..u64::MAX), DATA.end);
        assert_eq!(has_bits(&space), 0);

        assert_eq!(space.allocate(8, Some(PART), false)?, PART..PART + 8);
        assert_eq!(has_bits(&space), 1);
        assert_eq!(space.free_blocks(), DATA.end - DATA.start - 8);
        assert_eq!(space.allocate(200, Some(PART - 1), false)?, PART - 1..PART);
        assert_eq!(has_bits(&space), 2);
        space.rollback();
        assert_eq!(space.free_blocks(), DATA.end - DATA.start);
        Ok(())
    }

    #[test]
    fn a_single_free_block_is_found() -> Result {
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
                assert_eq!(space.allocate(9, Some(7), false)?, block..block + 1);
                assert_eq!(space.free_blocks(), 0);
                assert_eq!(space.allocate(1, Some(block), false), Err(ENOSPC));
                // It was not committed.
                space.rollback();
                assert_eq!(space.free_blocks(), 1);
            }
        }
        Ok(())
    }

    #[test]
    fn a_run_crosses_words_and_parts() -> Result {
        let mut space = space(&[PART - 70..PART + 130])?;

        assert_eq!(
            space.allocate(1000, Some(PART - 65), false)?,
            PART - 65..PART + 130
        );
        assert_eq!(space.allocate(1000, Some(0), false)?, PART - 70..PART - 65);
        space.commit();
        space.rollback();
        assert_eq!(space.free_blocks(), 0);
        space.free(PART - 1..PART + 1);
        space.free(PART - 2..PART + 1);
        assert_eq!(space.free_blocks(), 3);
        assert_eq!(space.mark_bad(&(PART..DATA.end)), Some(PART..PART + 1));
        assert_eq!(space.mark_bad(&(PART..DATA.end)), None);
        assert_eq!(space.free_blocks(), 2);
        Ok(())
    }

    #[test]
    fn free_huge_pages_are_found() -> Result {
        let mut space = space(&[
            HUGE..2 * HUGE - 1,
            3 * HUGE - 1..5 * HUGE,
            PART..PART + HUGE,
        ])?;
        let huge = |block: u64| block..block + HUGE;

        assert_eq!(space.allocate(2 * HUGE, Some(PART - 5), true)?, huge(PART));
        assert_eq!(space.allocate(HUGE, Some(0), true)?, huge(3 * HUGE));
        assert_eq!(space.allocate(HUGE, Some(0), true)?, huge(4 * HUGE));
        // No free huge page is left.
        assert_eq!(space.allocate(HUGE, Some(HUGE), true)?, HUGE..2 * HUGE - 1);
        assert_eq!(space.allocate(HUGE, Some(0), true)?, 3 * HUGE - 1..3 * HUGE);
        assert_eq!(space.free_blocks(), 0);
        // A run does not end inside a huge page.
        space.free(PART..PART + 2 * HUGE + 7);
        assert_eq!(
            space.allocate(4 * HUGE, Some(PART), true)?,
            PART..PART + 2 * HUGE
        );
        assert_eq!(space.free_blocks(), 7);
        Ok(())
    }
}
