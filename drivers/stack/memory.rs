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

use crate::layout::Extent;

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

    pub(crate) fn disk(&self) -> &DiskRef {
        &self.disk
    }

    /// Whether the device is there. Its name may be that of another one, later.
    pub(crate) fn is_alive(&self) -> bool {
        self.device.is_alive(&ReadLock::new())
    }

    /// The frames of `range` of the disk, [`None`] if it has none there.
    pub(crate) fn frames(&self, range: ByteRange<space::Volume>) -> Option<Frames> {
        let range = self.disk.window()?.clip_outward(range)?;

        Frames::new(|| self.extents(range).map(Extent::outer))
    }

    /// Whether the device has the frames `frames`, and no other, behind `pages`.
    pub(crate) fn is_at(
        &self,
        frames: PageRange<space::Physical>,
        pages: PageRange<space::Device>,
    ) -> bool {
        self.device
            .locate(pages, &ReadLock::new())
            .is_ok_and(|extent| extent.outer() == frames)
    }

    /// Calls `seen` with each extent of the device, from its start to its end.
    pub(crate) fn walk(&self, seen: impl FnMut(Extent)) {
        if let Some(whole) = self.disk.window() {
            self.extents(whole.outer()).for_each(seen);
        }
    }

    fn extents(&self, range: ByteRange<space::Device>) -> Extents<'_> {
        Extents {
            device: &self.device,
            rest: Some(range.pages()),
        }
    }
}

/// The extents of some pages of a device. Pages without memory are left out.
struct Extents<'a> {
    device: &'a Device,
    rest: Option<PageRange<space::Device>>,
}

impl Iterator for Extents<'_> {
    type Item = Extent;

    fn next(&mut self) -> Option<Extent> {
        loop {
            let pages = self.rest?;
            // For each step: no device has to wait for the end of a walk to go.
            let lock = ReadLock::new();

            match self.device.locate(pages, &lock) {
                Ok(extent) => {
                    self.rest = pages.skip(extent.inner().len());
                    return Some(extent);
                }
                // A device below that is gone gives the same error.
                Err(ENXIO) if !self.device.is_alive(&lock) => self.rest = None,
                // A hole, and nobody says how long it is.
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
    bounds: PageRange<space::Physical>,
    runs: KVVec<PageRange<space::Physical>>,
}

impl Frames {
    /// The frames of all ranges that `ranges` gives, [`None`] if it gives none.
    ///
    /// If memory is too short to list them, the set has the frames between them, too: more owners
    /// are told then, but none is left out.
    fn new<I: Iterator<Item = PageRange<space::Physical>>>(ranges: impl Fn() -> I) -> Option<Self> {
        let mut rest = ranges();
        let first = rest.next()?;

        // INVARIANT: `list()` sorts, and joins what overlaps.
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

    /// The frames, if they lie in a row.
    pub(crate) fn in_a_row(&self) -> Option<PageRange<space::Physical>> {
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
