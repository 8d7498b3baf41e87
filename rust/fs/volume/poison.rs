// SPDX-License-Identifier: GPL-2.0

//! The page frames of a volume that have failed, and their marks.
//!
//! C header: [`include/linux/page-flags.h`](srctree/include/linux/page-flags.h)

use core::ptr;

use kernel::prelude::*;

use crate::{
    bindings,
    dax::ReadLock,
    range::{
        space,
        ByteRange,
        PageRange, //
    },
};

use super::Volume;

/// Pages that a huge page maps.
pub(in crate::fs) const HUGE: u64 = 512;

impl Volume {
    /// The page frames of `range`, as many from the first one on as lie in a row, if there are
    /// such.
    pub(in crate::fs) fn frames(
        &self,
        range: ByteRange<space::Volume>,
    ) -> Option<PageRange<space::Physical>> {
        let pages = self.locate(range).ok()?.pages();

        let devices = self.devices().ok()?;
        let place = devices.dax().locate(pages, &ReadLock::new()).ok()?;

        Some(place.outer())
    }

    /// Marks the page frames of `range`, which have failed, as far as there are such.
    ///
    /// # Safety
    ///
    /// The caller must hold `dax_srcu` until the marks are dropped.
    pub(in crate::fs) unsafe fn mark(&self, range: ByteRange<space::Volume>) -> KVec<Marks> {
        let mut all = KVec::new();
        let mut rest = self.locate(range).ok().map(ByteRange::pages);
        let Ok(devices) = self.devices() else {
            return all;
        };

        while let Some(pages) = rest {
            let Ok(place) = devices.dax().locate(pages, &ReadLock::new()) else {
                break;
            };
            let frames = place.outer();

            // SAFETY: The memory of a filesystem has pages, and the driver sees to it that these
            // are aligned as huge pages are. They stay as long as `dax_srcu` is held.
            let marks = unsafe { Marks::new(frames) };

            // Without memory the mark of the other frame is taken back too early, and stays.
            let _ = all.push(marks, GFP_KERNEL);
            rest = pages.skip(frames.len());
        }
        all
    }
}

/// The marks of page frames that have failed: the kernel makes those present again that are marked
/// when they have been mended.
///
/// When dropped, the mark of another frame is taken back: where a huge page is mapped,
/// `mf_dax_kill_procs()` marks its first frame, and not the one that has failed.
///
/// # Invariants
///
/// `first` is null, or a page that was not marked and has not failed. It stays valid as long as
/// this exists.
pub(in crate::fs) struct Marks {
    first: *mut bindings::page,
}

impl Marks {
    /// Marks `frames`, which have failed.
    ///
    /// # Safety
    ///
    /// The frames must have pages, aligned as huge pages are, which are valid until the marks are
    /// dropped.
    unsafe fn new(frames: PageRange<space::Physical>) -> Self {
        let head = frames.start() / HUGE * HUGE;
        let mut first = ptr::null_mut();

        // SAFETY: By the safety requirements.
        unsafe {
            if head != frames.start() {
                let page = bindings::pfn_to_page(head as c_ulong);

                if bindings::PageHWPoison(page) == 0 {
                    first = page;
                }
            }
            for frame in frames.start()..frames.end() {
                bindings::SetPageHWPoison(bindings::pfn_to_page(frame as c_ulong));
            }
        }

        // INVARIANT: It was just looked at. It has not failed, as it lies before `frames`.
        Self { first }
    }
}

impl Drop for Marks {
    fn drop(&mut self) {
        if !self.first.is_null() {
            // SAFETY: By the type invariants.
            unsafe { bindings::TestClearPageHWPoison(self.first) };
        }
    }
}
