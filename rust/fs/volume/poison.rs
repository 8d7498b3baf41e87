// SPDX-License-Identifier: GPL-2.0

//! The failed page frames of a volume, and their poison marks.
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

/// Number of pages in a huge page.
const HUGE: u64 = 512;

impl Volume {
    /// Sets the poison mark of the page frames of `range`, which have failed. Stops at memory
    /// without page frames.
    ///
    /// # Safety
    ///
    /// The caller must hold `dax_srcu` until the returned marks are dropped.
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

            // SAFETY: `locate()` has returned the frames, so they have pages. `memremap_pages()`
            // creates pages for multiples of 2 MiB only (`check_pfn_span()`), so the frames before
            // them in their first huge page have pages, too. The pages exist while the caller holds
            // `dax_srcu`.
            let marks = unsafe { Marks::new(frames) };

            // If `push()` fails, it drops `marks` at once. `mf_dax_kill_procs()` can then mark the
            // first frame of the huge page later, and that mark stays.
            let _ = all.push(marks, GFP_KERNEL);
            rest = pages.skip(frames.len());
        }
        all
    }
}

/// The poison marks (`PG_hwpoison`) of failed page frames. After a repair, `nd_pmem` makes only
/// marked frames present in the linear map again.
///
/// Where a huge page is mapped, `mf_dax_kill_procs()` marks the first frame of the huge page
/// instead of the failed one. The drop clears that mark.
///
/// # Invariants
///
/// `first` is null, or points to a page that was not marked and has not failed. The page stays
/// valid while this exists.
pub(in crate::fs) struct Marks {
    first: *mut bindings::page,
}

impl Marks {
    /// Sets the poison mark of `frames`, which have failed.
    ///
    /// # Safety
    ///
    /// The frames must have pages, from the start of their first huge page on. The pages must be
    /// valid until the marks are dropped.
    unsafe fn new(frames: PageRange<space::Physical>) -> Self {
        let head = frames.start() / HUGE * HUGE;
        let mut first = ptr::null_mut();

        // SAFETY: All frames from `head` on have valid pages by the safety requirements.
        // `PG_hwpoison` is set atomically.
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

        // INVARIANT: `first` is null, or was not marked. It has not failed, because it precedes
        // `frames`.
        Self { first }
    }
}

impl Drop for Marks {
    fn drop(&mut self) {
        if !self.first.is_null() {
            // SAFETY: `first` points to a valid page by the type invariants. `PG_hwpoison` is
            // cleared atomically.
            unsafe { bindings::TestClearPageHWPoison(self.first) };
        }
    }
}
