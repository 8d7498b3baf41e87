// SPDX-License-Identifier: GPL-2.0

//! Where the memory of one device appears in another.

use core::slice;

use daxmf::{
    block::{
        DeviceFile,
        DiskRef, //
    },
    dax::{
        Device,
        ReadLock, //
    },
    range::{
        ByteRange,
        FrameRange, //
    },
};
use kernel::{
    alloc::KVVec,
    prelude::*,
    rbtree::RBTree,
    sync::aref::ARef, //
};

/// The memory of a disk, as it is mapped at the moment it is asked.
pub(crate) struct Mapping {
    device: ARef<Device>,
    disk: DiskRef,
}

impl Mapping {
    /// The memory of the disk that `file` is.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if it is a partition.
    /// - The errors of [`Device::of()`].
    pub(crate) fn new(file: &DeviceFile) -> Result<Self> {
        if file.is_partition() {
            return Err(EINVAL);
        }

        Ok(Self {
            device: Device::of(file)?,
            disk: file.disk(),
        })
    }

    pub(crate) fn device(&self) -> &ARef<Device> {
        &self.device
    }

    /// The frames of the bytes `range` of the device, [`None`] if it has none there.
    pub(crate) fn frames(&self, range: ByteRange, lock: &ReadLock) -> Option<Frames> {
        let range = range.clip(ByteRange::new(0, self.disk.size())?)?;

        Frames::new(|| self.extents(range, lock).map(|extent| extent.frames))
    }

    /// Whether the device has some of `frames`.
    pub(crate) fn has(&self, frames: &Frames, lock: &ReadLock) -> bool {
        let mut has = false;

        self.find(frames, lock, |_| has = true);
        has
    }

    /// Calls `found` with each range of the device that has one of `frames` behind it, from its
    /// start to its end. Ranges that touch are one.
    pub(crate) fn find(&self, frames: &Frames, lock: &ReadLock, mut found: impl FnMut(ByteRange)) {
        let Some(whole) = ByteRange::new(0, self.disk.size()) else {
            return;
        };
        let mut found = |pages: FrameRange| {
            if let Some(range) = pages.bytes() {
                found(range);
            }
        };
        let mut last: Option<FrameRange> = None;

        for extent in self.extents(whole, lock) {
            for part in frames.within(extent.frames) {
                let Some(pages) = extent.pages_of(part) else {
                    continue;
                };

                last = match last {
                    Some(last) if last.end() == pages.first() => Some(last.hull(pages)),
                    Some(last) => {
                        found(last);
                        Some(pages)
                    }
                    None => Some(pages),
                };
            }
        }
        if let Some(last) = last {
            found(last);
        }
    }

    fn extents<'a>(&'a self, range: ByteRange, lock: &'a ReadLock) -> Extents<'a> {
        Extents {
            device: &self.device,
            lock,
            rest: Some(range.frames()),
        }
    }
}

/// Pages of a device whose frames lie in a row.
struct Extent {
    page: u64,
    frames: FrameRange,
}

impl Extent {
    /// The pages of the device that have the frames `part` behind them, some of the extent's own.
    fn pages_of(&self, part: FrameRange) -> Option<FrameRange> {
        let within = part.first().checked_sub(self.frames.first())?;

        FrameRange::new(self.page.checked_add(within)?, part.count())
    }
}

/// The extents of some pages of a device. Pages without memory are left out.
struct Extents<'a> {
    device: &'a Device,
    lock: &'a ReadLock,
    rest: Option<FrameRange>,
}

impl Iterator for Extents<'_> {
    type Item = Extent;

    fn next(&mut self) -> Option<Extent> {
        loop {
            let pages = self.rest?;

            match self.device.frames(pages, self.lock) {
                Ok(frames) => {
                    self.rest = pages.skip(frames.count());
                    return Some(Extent {
                        page: pages.first(),
                        frames,
                    });
                }
                // The device is gone.
                Err(ENXIO) => self.rest = None,
                // Nobody says how long the hole is.
                Err(_) => self.rest = pages.skip(1),
            }
        }
    }
}

/// A set of page frames.
///
/// # Invariants
///
/// `runs` is empty, which stands for `bounds`, or is in order of the frames and without overlaps.
pub(crate) struct Frames {
    bounds: FrameRange,
    runs: KVVec<FrameRange>,
}

impl Frames {
    /// The frames of all ranges that `ranges` gives, [`None`] if it gives none.
    ///
    /// If memory is too short to list them, the set has the frames between them, too: more owners
    /// are told then, but none is left out.
    fn new<I: Iterator<Item = FrameRange>>(ranges: impl Fn() -> I) -> Option<Self> {
        let mut rest = ranges();
        let first = rest.next()?;

        // INVARIANT: `list()` sorts, and joins what overlaps.
        Some(match rest.next() {
            None => Self {
                bounds: first,
                runs: KVVec::new(),
            },
            Some(second) => Self {
                bounds: rest.fold(first.hull(second), FrameRange::hull),
                runs: Self::list(ranges()).unwrap_or_default(),
            },
        })
    }

    fn list(ranges: impl Iterator<Item = FrameRange>) -> Result<KVVec<FrameRange>> {
        let mut sorted = RBTree::new();
        let mut runs: KVVec<FrameRange> = KVVec::new();

        for range in ranges {
            sorted.try_create_and_insert((range.first(), range.count()), range, GFP_KERNEL)?;
        }
        for range in sorted.values() {
            match runs.last_mut() {
                Some(last) if range.first() <= last.end() => *last = last.hull(*range),
                _ => runs.push(*range, GFP_KERNEL)?,
            }
        }
        Ok(runs)
    }

    /// The parts of `frames` that are in the set, in order.
    fn within(&self, frames: FrameRange) -> impl Iterator<Item = FrameRange> + '_ {
        let runs = if self.runs.is_empty() {
            slice::from_ref(&self.bounds)
        } else {
            &self.runs
        };
        let before = runs.partition_point(|run| run.end() <= frames.first());

        runs.iter()
            .skip(before)
            .take_while(move |run| run.first() < frames.end())
            .filter_map(move |run| run.clip(frames))
    }
}
