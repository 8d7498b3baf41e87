// SPDX-License-Identifier: GPL-2.0

//! Users of the pages of a page map that is being removed.
//!
//! A DAX filesystem stores the frame numbers of a file in the inode. When the kernel removes a
//! number from the inode, it accesses the `struct page` of the frame, and crashes if there is none.
//! A holder removes the numbers when it is notified of the removal. But ext4 is not a holder, and
//! XFS does not remove numbers of pages that it could not write back. Other users have references
//! to pages, for example a pipe (`vmsplice()`).
//!
//! Reference: [`fs/dax.c`](srctree/fs/dax.c)

use core::ptr::NonNull;

use kernel::{
    prelude::*,
    sync::rcu,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

use super::frame_numbers;
use crate::{
    bindings,
    range::{
        space,
        PageRange, //
    },
};

/// The interval between two checks of a page. There is no wakeup when a user releases a page.
const INTERVAL: Delta = Delta::from_millis(20);

/// The number of intervals before a warning: 2 s.
const ROUNDS_BEFORE_WARNING: u32 = 100;

/// The user of a page.
enum User {
    None,
    /// One file.
    File(Inode),
    /// A file that is being evicted, several files, or another user.
    Other,
}

/// Removes pages from the files that use them, and waits until no page has a user.
///
/// The kernel unmaps these files from all processes, so the next access raises SIGBUS. The kernel
/// also writes back dirty pages, if the filesystem still can.
///
/// # Safety
///
/// Each frame must have a `struct page` until this returns. The DAX device above must be dead, so
/// that no file gets a page any more.
pub(super) unsafe fn revoke(frames: PageRange<space::Physical>) {
    let mut rounds = 0;

    // A page fault can have got its frame number before the device died, and not have stored the
    // number in the inode yet. In between, the fault can be preempted, but it does not sleep. So
    // when `synchronize_rcu_tasks()` returns, the fault has stored the number.
    // SAFETY: `synchronize_rcu_tasks()` requires only a context that may sleep. The drop of a
    // `PageMap`, the only caller, sleeps.
    unsafe { bindings::synchronize_rcu_tasks() };

    for pfn in frame_numbers(frames) {
        loop {
            // SAFETY: The frame has a page by the safety requirements.
            let is_dropped = match unsafe { user_of(pfn) } {
                User::None => break,
                User::File(inode) => inode.drop_pages(),
                User::Other => false,
            };

            if !is_dropped {
                wait(frames, &mut rounds);
            }
        }
        // SAFETY: `cond_resched()` requires only a context that may sleep, and this function sleeps
        // in `wait()`, too.
        unsafe { bindings::cond_resched() };
    }
}

/// Sleeps for one [`INTERVAL`]. The call number [`ROUNDS_BEFORE_WARNING`] also warns.
fn wait(frames: PageRange<space::Physical>, rounds: &mut u32) {
    *rounds = rounds.saturating_add(1);
    if *rounds == ROUNDS_BEFORE_WARNING {
        pr_warn!(
            "removal of frames {:#x} to {:#x} waits: close the files that use them, or unmount\n",
            frames.start(),
            frames.end(),
        );
    }
    fsleep(INTERVAL);
}

/// Returns the user of the page of a frame.
///
/// # Safety
///
/// The frame must have a `struct page`.
unsafe fn user_of(pfn: c_ulong) -> User {
    let _rcu = rcu::read_lock();

    // SAFETY: The frame has a `struct page` by the safety requirements. The first page of its folio
    // is still a valid `struct page` if the folio is split meanwhile.
    let (mapping, is_shared, is_referenced) = unsafe {
        let folio = bindings::page_folio(bindings::pfn_to_page(pfn));

        (
            bindings::folio_mapping(folio),
            (&raw const (*folio)
                .__bindgen_anon_1
                .__bindgen_anon_1
                .__bindgen_anon_2
                .share)
                .read_volatile()
                != 0,
            bindings::folio_ref_count(folio) != 0,
        )
    };

    if let Some(mapping) = NonNull::new(mapping) {
        // SAFETY: `dax_disassociate_entry()` clears the mapping of a folio before the inode is
        // freed, and RCU delays the free until `_rcu` is dropped. `igrab()` returns null for an
        // inode that is being freed.
        let inode = unsafe { bindings::igrab((*mapping.as_ptr()).host) };

        // INVARIANT: `igrab()` returned null, or an inode with a reference that the caller owns.
        return NonNull::new(inode).map_or(User::Other, |inode| User::File(Inode(inode)));
    }
    // A page that several files share has no mapping, and `share` is the number of files. For other
    // pages, `share` is in a union with the offset in the file.
    match is_shared || is_referenced {
        true => User::Other,
        false => User::None,
    }
}

/// A reference to the inode of a DAX file.
///
/// # Invariants
///
/// `self.0` points to a valid `struct inode`, and `self` owns a reference to it.
struct Inode(NonNull<bindings::inode>);

impl Inode {
    /// Removes all frame numbers from the inode. Returns `false`, and removes none, if a page has
    /// another user.
    fn drop_pages(&self) -> bool {
        const END: i64 = i64::MAX;

        // Do the same as an eviction: write back, unmap, remove. Ignore errors of the writeback,
        // because data that were not written back were never durable.
        // SAFETY: `self.0` points to a valid `struct inode` by the type invariants, so `i_mapping`
        // is valid.
        unsafe {
            let mapping = (*self.0.as_ptr()).i_mapping;

            bindings::filemap_write_and_wait_range(mapping, 0, END);
            if !bindings::dax_layout_busy_page(mapping).is_null() {
                return false;
            }
            bindings::dax_delete_mapping_range(mapping, 0, END);
        }
        true
    }
}

impl Drop for Inode {
    fn drop(&mut self) {
        // SAFETY: `self` owns a reference to the valid inode by the type invariants, and does not
        // use the inode afterwards.
        unsafe { bindings::iput(self.0.as_ptr()) };
    }
}
