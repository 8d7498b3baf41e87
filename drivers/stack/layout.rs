// SPDX-License-Identifier: GPL-2.0

//! Stores what a walk over a device has found, so that the next failure needs no walk.

use daxmf::range::{
    space,
    PageRange,
    Pages,
    Window, //
};
use kernel::{
    alloc::KVVec,
    prelude::*,
    rbtree::RBTree, //
};

/// A run of pages of a device whose frames are contiguous.
pub(crate) type FrameRun = Window<space::Physical, space::Device, Pages>;

/// Joins two runs, if the second follows the first in pages and in frames.
fn join(first: FrameRun, second: FrameRun) -> Option<FrameRun> {
    let follows = first.outer().end() == second.outer().start()
        && first.inner().end() == second.inner().start();

    if !follows {
        return None;
    }
    Window::new(
        first.outer().hull(second.outer()),
        first.inner().hull(second.inner()),
    )
}

/// Runs of equal length and at equal distances in the device, whose frames are contiguous: a
/// linear segment, or the part of one disk in a striped device.
#[derive(Clone, Copy)]
struct Stripe {
    first: FrameRun,
    /// The number of pages from one run to the next.
    distance: u64,
    /// The frames of all runs.
    frames: PageRange<space::Physical>,
}

impl Stripe {
    fn new(first: FrameRun) -> Self {
        Self {
            first,
            distance: 0,
            frames: first.outer(),
        }
    }

    /// Appends `next` if it continues the stripe. Returns whether it does.
    fn append(&mut self, next: FrameRun) -> bool {
        let Some(distance) = self.distance_to(next) else {
            return false;
        };

        self.distance = distance;
        self.frames = self.frames.hull(next.outer());
        true
    }

    /// The distance of the runs if `next` continues the stripe, otherwise [`None`].
    fn distance_to(&self, next: FrameRun) -> Option<u64> {
        let chunk = self.first.outer().len();

        if next.outer().start() != self.frames.end() || next.outer().len() != chunk {
            return None;
        }

        let count = self.frames.len().checked_div(chunk)?;
        let (first, next) = (self.first.inner().start(), next.inner().start());
        let distance = next.checked_sub(first)?.checked_div(count)?;
        let is_next = first.checked_add(distance.checked_mul(count)?) == Some(next)
            && (count == 1 || distance == self.distance);

        is_next.then_some(distance)
    }

    /// The pages with the frames `part`, if these lie in one run.
    fn pages_of(&self, part: PageRange<space::Physical>) -> Option<PageRange<space::Device>> {
        let chunk = self.first.outer().len();
        let within = part.start().checked_sub(self.frames.start())?;
        let (number, rest) = (within.checked_div(chunk)?, within.checked_rem(chunk)?);

        if rest.checked_add(part.len())? > chunk {
            return None;
        }

        let page = self.distance.checked_mul(number)?.checked_add(rest)?;
        PageRange::new(self.first.inner().start().checked_add(page)?, part.len())
    }
}

/// A map from the frames of a device to its pages. Each frame is in one place.
// The key of a stripe is the end of its frames.
pub(crate) struct Layout(RBTree<u64, Stripe>);

impl Layout {
    /// Builds the map from the stripes of a device.
    ///
    /// # Errors
    ///
    /// - `EEXIST` if a frame is in two places.
    /// - `ENOMEM` if memory is short.
    fn new(stripes: KVVec<Stripe>) -> Result<Self> {
        let mut layout = Self(RBTree::new());

        for stripe in stripes {
            let frames = stripe.frames;

            if layout
                .first_ending_after(frames.start())
                .is_some_and(|other| other.frames.clip(frames).is_some())
            {
                return Err(EEXIST);
            }
            layout
                .0
                .try_create_and_insert(frames.end(), stripe, GFP_KERNEL)?;
        }
        Ok(layout)
    }

    /// The first stripe whose frames end after the frame of this number.
    fn first_ending_after(&self, frame: u64) -> Option<Stripe> {
        let cursor = self.0.cursor_lower_bound(&frame.checked_add(1)?)?;

        Some(*cursor.current().1)
    }

    /// The pages of the device with `frames`, if these lie in one run.
    pub(crate) fn pages_of(
        &self,
        frames: PageRange<space::Physical>,
    ) -> Option<PageRange<space::Device>> {
        self.first_ending_after(frames.start())?.pages_of(frames)
    }
}

/// Builds a layout from the runs of a walk.
pub(crate) struct Survey {
    last: Option<FrameRun>,
    stripes: Result<KVVec<Stripe>>,
}

/// The maximum number of disks of a striped device whose stripes are recognized.
const MAX_DISKS: usize = 64;

/// The maximum number of stripes of a layout. They take 6 MiB.
const MAX_STRIPES: usize = 1 << 16;

impl Survey {
    pub(crate) fn new() -> Self {
        Self {
            last: None,
            stripes: Ok(KVVec::new()),
        }
    }

    /// Adds the next run, in the order of the device's pages.
    pub(crate) fn add(&mut self, run: FrameRun) {
        // A walk also ends a run at the end of a disk, at the end of a target of the table, and
        // at bad memory. Join such runs.
        if let Some(last) = self.last.replace(run) {
            match join(last, run) {
                Some(both) => self.last = Some(both),
                None => self.add_to_stripes(last),
            }
        }
    }

    fn add_to_stripes(&mut self, run: FrameRun) {
        let Ok(stripes) = &mut self.stripes else {
            return;
        };
        let mut newest = stripes.iter_mut().rev().take(MAX_DISKS);

        if newest.any(|stripe| stripe.append(run)) {
            return;
        }
        if stripes.len() == MAX_STRIPES {
            self.stripes = Err(E2BIG);
        } else if let Err(error) = stripes.push(Stripe::new(run), GFP_KERNEL) {
            self.stripes = Err(error.into());
        }
    }

    /// Returns the layout.
    ///
    /// # Errors
    ///
    /// - `EEXIST` if a frame is in two places.
    /// - `E2BIG` if there are more than [`MAX_STRIPES`] stripes.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn finish(mut self) -> Result<Layout> {
        if let Some(last) = self.last.take() {
            self.add_to_stripes(last);
        }
        Layout::new(self.stripes?)
    }
}

#[kunit_tests(daxmf_stack_layout)]
mod tests {
    use super::*;

    fn frames(start: u64, len: u64) -> Result<PageRange<space::Physical>> {
        PageRange::new(start, len).ok_or(EINVAL)
    }

    fn run(page: u64, frame: u64, len: u64) -> Result<FrameRun> {
        Window::new(
            frames(frame, len)?,
            PageRange::new(page, len).ok_or(EINVAL)?,
        )
        .ok_or(EINVAL)
    }

    fn layout(runs: &[(u64, u64, u64)]) -> Result<Layout> {
        let mut survey = Survey::new();

        for &(page, frame, len) in runs {
            survey.add(run(page, frame, len)?);
        }
        survey.finish()
    }

    #[test]
    fn segments_out_of_order() -> Result {
        let layout = layout(&[(0, 0x500, 16), (16, 0x100, 32), (64, 0x300, 8)])?;

        assert_eq!(layout.pages_of(frames(0x500, 16)?), PageRange::new(0, 16));
        assert_eq!(layout.pages_of(frames(0x11f, 1)?), PageRange::new(47, 1));
        assert_eq!(layout.pages_of(frames(0x307, 1)?), PageRange::new(71, 1));
        assert_eq!(layout.pages_of(frames(0x308, 1)?), None);
        assert_eq!(layout.pages_of(frames(0x4ff, 2)?), None);
        Ok(())
    }

    #[test]
    fn stripes_on_two_disks() -> Result {
        let mut survey = Survey::new();

        for chunk in 0..1000 {
            let disk = if chunk % 2 == 0 { 0x10000 } else { 0x90000 };

            survey.add(run(chunk * 16, disk + chunk / 2 * 16, 16)?);
        }
        assert_eq!(survey.stripes.as_ref().map(|stripes| stripes.len()), Ok(2));

        let layout = survey.finish()?;
        // The third chunk of the second disk is the sixth of the device.
        assert_eq!(layout.pages_of(frames(0x90025, 2)?), PageRange::new(85, 2));
        // The end of a chunk and the start of the next are not in one run.
        assert_eq!(layout.pages_of(frames(0x9002f, 2)?), None);
        assert_eq!(
            layout.pages_of(frames(0x90000 + 500 * 16 - 1, 1)?),
            PageRange::new(1000 * 16 - 1, 1)
        );
        assert_eq!(layout.pages_of(frames(0x90000 + 500 * 16, 1)?), None);
        Ok(())
    }

    #[test]
    fn distances_that_differ() -> Result {
        let layout = layout(&[(0, 0x100, 4), (8, 0x104, 4), (20, 0x108, 4)])?;

        assert_eq!(layout.pages_of(frames(0x105, 1)?), PageRange::new(9, 1));
        assert_eq!(layout.pages_of(frames(0x108, 1)?), PageRange::new(20, 1));
        Ok(())
    }

    #[test]
    fn interrupted_by_bad_memory() -> Result {
        let layout = layout(&[(0, 0x100, 5), (5, 0x105, 1), (6, 0x106, 10)])?;

        assert_eq!(layout.pages_of(frames(0x104, 4)?), PageRange::new(4, 4));
        Ok(())
    }

    #[test]
    fn frame_in_two_places() {
        let twice = layout(&[(0, 0x100, 16), (64, 0x10f, 16)]);

        assert_eq!(twice.err(), Some(EEXIST));
    }
}
