// SPDX-License-Identifier: GPL-2.0

//! Who still uses pages of a page map when they are about to go.
//!
//! A DAX filesystem keeps the frame numbers of a file as long as it has the inode, and reads their
//! `struct page`s when it lets go of them: without pages, the kernel dies there. A holder drops the
//! numbers when it is told of the removal, but ext4 is no holder, and XFS does not drop what it
//! could not write back. Others have references of their own, such as a pipe (`vmsplice()`).
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

/// How often is looked. Who lets go of a page wakes nobody.
const INTERVAL: Delta = Delta::from_millis(20);

/// The number of rounds after which it is said what is waited for: 2 s.
const PATIENCE: u32 = 100;

/// Who uses a page.
enum User {
    Nobody,
    /// This file alone.
    File(Inode),
    /// A file that is being evicted, several files, or somebody else.
    Other,
}

/// Takes pages from the files that have them, and waits until nobody uses any of them.
///
/// What processes have mapped of these files is unmapped, so the next access is a `SIGBUS`. What is
/// not written back yet is, if the filesystem still can.
///
/// # Safety
///
/// Each frame must have a page until this returns. No file may get one any more: the DAX device on
/// top must be dead.
pub(super) unsafe fn revoke(frames: PageRange<space::Physical>) {
    let mut rounds = 0;

    // A page fault got its frame before the device died, and enters it into the file a little
    // later. It may be preempted in between, but does not wait for anything: after this it has.
    // SAFETY: No lock is held.
    unsafe { bindings::synchronize_rcu_tasks() };

    for pfn in frame_numbers(frames) {
        loop {
            // SAFETY: The frame has a page by the safety requirements.
            let is_dropped = match unsafe { user_of(pfn) } {
                User::Nobody => break,
                User::File(inode) => inode.drop_pages(),
                User::Other => false,
            };

            if !is_dropped {
                wait(frames, &mut rounds);
            }
        }
        // SAFETY: No spinlock is held.
        unsafe { bindings::cond_resched() };
    }
}

fn wait(frames: PageRange<space::Physical>, rounds: &mut u32) {
    *rounds = rounds.saturating_add(1);
    if *rounds == PATIENCE {
        pr_warn!(
            "removal of frames {:#x} to {:#x} waits: close the files that have their pages, or \
             unmount\n",
            frames.start(),
            frames.end(),
        );
    }
    fsleep(INTERVAL);
}

/// Who uses the page of a frame.
///
/// # Safety
///
/// The frame must have a page.
unsafe fn user_of(pfn: c_ulong) -> User {
    let _rcu = rcu::read_lock();

    // SAFETY: The frame has a page by the safety requirements, and the first page of a folio stays
    // a `struct page` when the folio is split.
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
        // freed, which RCU delays. `igrab()` takes no reference to one that is being freed.
        let inode = unsafe { bindings::igrab((*mapping.as_ptr()).host) };

        // INVARIANT: The reference was just taken.
        return NonNull::new(inode).map_or(User::Other, |inode| User::File(Inode(inode)));
    }
    // The number of files that share a page is where the offset of another one is.
    match is_shared || is_referenced {
        true => User::Other,
        false => User::Nobody,
    }
}

/// A reference to the inode of a file with DAX.
///
/// # Invariants
///
/// `self.0` is valid, and we own a reference to it.
struct Inode(NonNull<bindings::inode>);

impl Inode {
    /// Makes the inode forget where its pages are, unless somebody else uses one of them.
    fn drop_pages(&self) -> bool {
        const END: i64 = i64::MAX;

        // SAFETY: By the type invariants. As at eviction, pages are written back, unmapped, and
        // forgotten. What cannot be written back was never durable.
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
        // SAFETY: By the type invariants, and the inode is not used afterwards.
        unsafe { bindings::iput(self.0.as_ptr()) };
    }
}
