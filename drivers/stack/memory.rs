// SPDX-License-Identifier: GPL-2.0

//! The page frames of a device, and where they are in it.

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
        space,
        ByteRange,
        PageRange, //
    },
};
use kernel::{
    alloc::KVVec,
    prelude::*,
    rbtree::RBTree,
    sync::aref::ARef, //
};

use crate::layout::FrameRun;

/// The memory of a disk. Each method looks it up anew, because a mapped device can get another
/// table at any time.
pub(crate) struct Mapping {
    device: ARef<Device>,
    disk: DiskRef,
}

impl Mapping {
    /// The memory of the disk `file`.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if `file` is a partition.
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

    pub(crate) fn disk(&self) -> &DiskRef {
        &self.disk
    }

    /// Whether the device still exists. After its removal, another device can have its name.
    pub(crate) fn is_alive(&self) -> bool {
        self.device.is_alive(&ReadLock::new())
    }

    /// The frames of `range` of the disk, or [`None`] if the range has no memory.
    pub(crate) fn frames(&self, range: ByteRange<space::Volume>) -> Option<Frames> {
        let range = self.disk.window()?.clip_outward(range)?;

        Frames::new(|| self.runs(range).map(FrameRun::outer))
    }

    /// Whether the memory of `pages` is exactly `frames`.
    pub(crate) fn is_at(
        &self,
        frames: PageRange<space::Physical>,
        pages: PageRange<space::Device>,
    ) -> bool {
        self.device
            .locate(pages, &ReadLock::new())
            .is_ok_and(|run| run.outer() == frames)
    }

    /// Calls `seen` with each run of the device, in the order of its pages.
    pub(crate) fn walk(&self, seen: impl FnMut(FrameRun)) {
        if let Some(whole) = self.disk.window() {
            self.runs(whole.outer()).for_each(seen);
        }
    }

    fn runs(&self, range: ByteRange<space::Device>) -> FrameRuns<'_> {
        FrameRuns {
            device: &self.device,
            rest: Some(range.pages()),
        }
    }
}

/// An iterator over the runs of some pages of a device. It skips pages without memory.
struct FrameRuns<'a> {
    device: &'a Device,
    rest: Option<PageRange<space::Device>>,
}

impl Iterator for FrameRuns<'_> {
    type Item = FrameRun;

    fn next(&mut self) -> Option<FrameRun> {
        loop {
            let pages = self.rest?;
            // Take the lock for each step, because the removal of a DAX device waits for it.
            let lock = ReadLock::new();

            match self.device.locate(pages, &lock) {
                Ok(run) => {
                    self.rest = pages.skip(run.inner().len());
                    return Some(run);
                }
                // The device was removed. While the device is alive, `ENXIO` can mean that a device
                // below it was removed.
                Err(ENXIO) if !self.device.is_alive(&lock) => self.rest = None,
                // A hole. `dax_direct_access()` does not return its length.
                Err(_) => self.rest = pages.skip(1),
            }
        }
    }
}

/// A set of page frames.
///
/// # Invariants
///
/// If `runs` is empty, the set is `bounds`. Otherwise the set is `runs`, which are sorted and do
/// not overlap.
pub(crate) struct Frames {
    bounds: PageRange<space::Physical>,
    runs: KVVec<PageRange<space::Physical>>,
}

impl Frames {
    /// The frames of all ranges of the iterator that `ranges` returns, or [`None`] if there are
    /// none. `ranges` is called once or twice.
    ///
    /// If memory is too short for a list, the set also has the frames between the ranges. Too many
    /// owners are notified then, but none is missed.
    fn new<I: Iterator<Item = PageRange<space::Physical>>>(ranges: impl Fn() -> I) -> Option<Self> {
        let mut rest = ranges();
        let first = rest.next()?;

        // INVARIANT: `list()` returns sorted runs that do not overlap. If it fails, `runs` is
        // empty, and the set is `bounds`.
        Some(match rest.next() {
            None => Self {
                bounds: first,
                runs: KVVec::new(),
            },
            Some(second) => Self {
                bounds: rest.fold(first.hull(second), PageRange::hull),
                runs: Self::list(ranges()).unwrap_or_default(),
            },
        })
    }

    /// The frames of `ranges` as sorted runs that neither overlap nor touch.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    fn list(
        ranges: impl Iterator<Item = PageRange<space::Physical>>,
    ) -> Result<KVVec<PageRange<space::Physical>>> {
        let mut sorted = RBTree::new();
        let mut runs: KVVec<PageRange<space::Physical>> = KVVec::new();

        for range in ranges {
            sorted.try_create_and_insert((range.start(), range.len()), range, GFP_KERNEL)?;
        }
        for range in sorted.values() {
            match runs.last_mut() {
                Some(last) if range.start() <= last.end() => *last = last.hull(*range),
                _ => runs.push(*range, GFP_KERNEL)?,
            }
        }
        Ok(runs)
    }

    /// The frames, if they are contiguous.
    pub(crate) fn contiguous(&self) -> Option<PageRange<space::Physical>> {
        self.runs.is_empty().then_some(self.bounds)
    }

    /// The parts of `frames` that are in the set, in order.
    pub(crate) fn within(
        &self,
        frames: PageRange<space::Physical>,
    ) -> impl Iterator<Item = PageRange<space::Physical>> + '_ {
        let runs = if self.runs.is_empty() {
            slice::from_ref(&self.bounds)
        } else {
            &self.runs
        };
        let before = runs.partition_point(|run| run.end() <= frames.start());

        runs.iter()
            .skip(before)
            .take_while(move |run| run.start() < frames.end())
            .filter_map(move |run| run.clip(frames))
    }
}
