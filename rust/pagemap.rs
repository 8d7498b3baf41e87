// SPDX-License-Identifier: GPL-2.0

//! Device memory with page frames: `struct dev_pagemap`.
//!
//! A [`PageMap`] creates `struct page`s for a range of physical memory, so that DAX filesystems can
//! map it. The kernel calls it for memory failures of its frames.
//!
//! Unsupported: other types than `MEMORY_DEVICE_FS_DAX`, several ranges.
//!
//! C header: [`include/linux/memremap.h`](srctree/include/linux/memremap.h)
//!
//! Reference: [`mm/memremap.c`](srctree/mm/memremap.c)

mod claim;
mod layout;
mod removal;
mod users;

pub use self::{
    claim::Claim,
    removal::Removal, //
};

pub(crate) use self::layout::Layout;

use core::{
    marker::PhantomData,
    ops::Deref,
    ptr, //
};

use kernel::{
    container_of,
    error::{
        from_err_ptr,
        from_result, //
    },
    prelude::*,
    sync::{
        new_mutex,
        Mutex, //
    },
    types::Opaque, //
};

use crate::{
    bindings,
    mapped::Mapped,
    memory_failure::{
        Flags,
        Outcome,
        Reason, //
    },
    numa::Node,
    range::{
        space,
        ByteRange,
        PageRange,
        Pages,
        Window,
        PAGE_SHIFT, //
    },
};

// `range` has its own constant, because it is also built without the kernel.
const _: () = assert!(PAGE_SHIFT as usize == kernel::page::PAGE_SHIFT);

/// Callbacks of a page map.
///
/// C: `struct dev_pagemap_ops`
pub trait Operations: Send + Sync + 'static {
    /// Handles a memory failure.
    ///
    /// The kernel calls this in process context, under its global `mf_mutex`. The method may sleep,
    /// but must not wait for another memory failure. The kernel can call it before the initializer
    /// that [`PageMap::new()`] returns has finished.
    fn memory_failure(&self, frames: Frames<'_>, flags: Flags) -> Outcome;
}

/// Page frames of a [`PageMap`].
///
/// # Invariants
///
/// Each frame has a `struct page` for the duration of `'a`.
#[derive(Clone, Copy)]
pub struct Frames<'a> {
    range: PageRange<space::Physical>,
    _map: PhantomData<&'a ()>,
}

impl Frames<'_> {
    /// The numbers of the frames.
    pub fn range(&self) -> PageRange<space::Physical> {
        self.range
    }

    /// Marks each frame as poisoned (`PG_hwpoison`).
    ///
    /// The page map marks the frames of each failure that is not simulated before it calls
    /// [`Operations::memory_failure()`]: the machine check handler can remove them from the linear
    /// map afterwards, and the drop of the page map makes marked frames present again. A driver
    /// whose repair can clear the mark at the same time sets it again under the lock of the repair.
    pub fn set_poisoned(&self) {
        for pfn in frame_numbers(self.range) {
            // SAFETY: The frame has a `struct page` by the type invariants. `SetPageHWPoison()`
            // sets the flag atomically.
            unsafe { bindings::SetPageHWPoison(bindings::pfn_to_page(pfn)) };
        }
    }
}

/// Sets the node and zone of the frames in front of the data to those of the data.
///
/// `memremap_pages()` does not initialize the `struct page`s of frames that an altmap reserves.
/// These `struct page`s lie on the media, and contain old data. `memory_failure()` does not handle
/// a failure of these frames, but counts it for their node, and the kernel crashes if the node is
/// invalid.
///
/// # Safety
///
/// `memremap_pages()` must have mapped both ranges, and `reserved` must be the range that its
/// altmap reserves.
unsafe fn set_node_and_zone(
    reserved: PageRange<space::Physical>,
    data: PageRange<space::Physical>,
) {
    // SAFETY: Both ranges are mapped by the safety requirements, so each of their frames has a
    // `struct page`. `memmap_init_zone_device()` has initialized those of the data. No other code
    // uses those of `reserved`.
    unsafe {
        let flags = (*bindings::pfn_to_page(data.start() as c_ulong)).flags;

        for pfn in frame_numbers(reserved) {
            (*bindings::pfn_to_page(pfn)).flags = flags;
        }
    }
}

/// Returns the numbers of the frames, for C.
// CAST: A frame number is a `u64` here and an `unsigned long` in C. Both have 64 bits.
fn frame_numbers(frames: PageRange<space::Physical>) -> impl Iterator<Item = c_ulong> {
    (frames.start()..frames.end()).map(|pfn| pfn as c_ulong)
}

/// The alignment of a page map in bytes: its start and size must be multiples of it.
///
/// C: `memremap_compat_align()`
pub fn alignment() -> u64 {
    // SAFETY: `memremap_compat_align()` returns a constant of the architecture.
    let align = unsafe { bindings::memremap_compat_align() };

    // CAST: An `unsigned long` has 64 bits here.
    align as u64
}

/// A range of physical memory with page frames.
///
/// A page map is the memory of a DAX device. The device consists of the data in the range, without
/// the part that is reserved. A `PageMap` dereferences to [`Mapped`], which reads and writes the
/// data.
///
/// The drop removes the pages from the files that use them, waits for other users of the pages and
/// for running callbacks, and then removes the `struct page`s. The DAX device above must be dead:
/// its holder was notified of the removal ([`Flags::MEM_PRE_REMOVE`]), and no file gets a page any
/// more. This holds if the map is part of the data of the
/// [device](crate::dax::device::Registration).
///
/// The [`Claim`] in the page map keeps the namespace bound, so the memory exists as long as the
/// page map. So an access does not check whether the namespace is bound.
///
/// # Invariants
///
/// - `memremap_pages()` has mapped `pgmap`.
/// - `mapped` is the memory of `frames`, which are the frames of the data. These frames have
///   `struct page`s as long as `self` exists.
#[pin_data(PinnedDrop)]
pub struct PageMap<T: Operations> {
    // The callback can use `ops` and `failures` as soon as `pgmap` is mapped, so `new()`
    // initializes both before `pgmap`.
    ops: T,
    #[pin]
    failures: Mutex<FailureState>,
    #[pin]
    pgmap: Opaque<bindings::dev_pagemap>,
    mapped: Mapped,
    frames: PageRange<space::Physical>,
    // The claim of the memory of the pages. The drop releases it last.
    _claim: Claim,
}

/// The state of a page map for memory failures. Its lock is held while a failure is handled.
struct FailureState {
    /// Whether the page map is being removed.
    is_removing: bool,
    /// Whether there was a failure, so that frames may be marked as poisoned.
    had_failure: bool,
    last_removal: Option<Removal>,
}

// SAFETY: `memunmap_pages()` may be called on any thread. `ops` is `Send` by the bounds of
// `Operations`.
unsafe impl<T: Operations> Send for PageMap<T> {}

// SAFETY: `ops` is `Sync` by the bounds of `Operations`. `failures` and `mapped` are `Sync`. Only C
// uses `pgmap`, and the other fields do not change.
unsafe impl<T: Operations> Sync for PageMap<T> {}

impl<T: Operations> PageMap<T> {
    /// Maps memory. The `struct page`s are allocated on NUMA node `node`, unless an altmap reserves
    /// memory for them in the range.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if the start or the size of the mapped range is not a multiple of
    ///   [`alignment()`].
    /// - `EINVAL` if the memory is padded at its start
    ///   ([`Kind::PaddedPfn`](crate::nvdimm::namespace::Kind::PaddedPfn)).
    /// - `ENXIO` if the range contains system RAM.
    /// - `ENOMEM` if memory is short.
    pub fn new(claim: Claim, node: Node, ops: T) -> impl PinInit<Self, Error> {
        let layout = claim.layout;
        let data = layout.data().outer();
        let mut addr = ptr::null_mut::<u8>();

        try_pin_init!(Self {
            ops,
            failures <- new_mutex!(FailureState {
                is_removing: false,
                had_failure: false,
                last_removal: None,
            }),
            pgmap <- Opaque::try_ffi_init(|pgmap: *mut bindings::dev_pagemap| {
                if layout.is_padded() || !layout.mapped.is_aligned(alignment()) {
                    return Err(EINVAL);
                }
                // SAFETY: `pgmap` is valid for writes.
                unsafe { Self::describe(pgmap, layout) };

                // SAFETY: `describe()` has initialized `pgmap`. It is pinned, and the drop unmaps
                // it before it is freed.
                let start = unsafe { bindings::memremap_pages(pgmap, node.as_raw()) };
                let start = from_err_ptr(start)?;

                let reserved = layout.reserved();

                if let (Some(reserved), true) = (reserved, layout.altmap.is_some()) {
                    // SAFETY: `memremap_pages()` has just mapped `layout.mapped`, which contains
                    // both. The altmap is set, and the frames before the data are reserved.
                    unsafe { set_node_and_zone(reserved.pages(), data.pages()) };
                }

                let offset = reserved.map_or(0, ByteRange::len);

                // CAST: An offset in mapped memory fits a `usize`.
                addr = start.cast::<u8>().wrapping_add(offset as usize);
                Ok(())
            }),
            // SAFETY: `memremap_pages()` has mapped `data.len()` bytes at `addr`, until the page
            // map is dropped.
            mapped: unsafe { Mapped::new(addr, data.len()) },
            frames: data.pages(),
            _claim: claim,
        })
    }

    /// Initializes `pgmap` for `memremap_pages()`.
    ///
    /// # Safety
    ///
    /// `pgmap` must be valid for writes.
    unsafe fn describe(pgmap: *mut bindings::dev_pagemap, layout: Layout) {
        // SAFETY: `pgmap` is valid for writes by the safety requirements, and all of its fields may
        // be zero. `range` is the union's field for a single range.
        unsafe {
            ptr::write_bytes(pgmap, 0, 1);
            (*pgmap).type_ = bindings::memory_type_MEMORY_DEVICE_FS_DAX;
            (*pgmap).ops = &VTable::<T>::OPS;
            (*pgmap).nr_range = 1;
            *(*pgmap).__bindgen_anon_1.range.as_mut() = layout.mapped.into();
            if let Some(altmap) = layout.altmap {
                (*pgmap).altmap = altmap;
                (*pgmap).flags = bindings::PGMAP_ALTMAP_VALID;
            }
        }
    }

    /// The callbacks.
    pub fn operations(&self) -> &T {
        &self.ops
    }

    /// The position of the device's pages in physical memory.
    #[inline]
    fn window(&self) -> Window<space::Physical, space::Device, Pages> {
        Window::at(self.frames)
    }

    /// Returns access to the memory of those `pages` that lie in the map.
    ///
    /// # Errors
    ///
    /// - `ENXIO` if none of the pages lies in the map.
    #[inline]
    pub fn access(&self, pages: PageRange<space::Device>) -> Result<Access<'_>> {
        let frames = self.window().clip_outward(pages).ok_or(ENXIO)?;

        // INVARIANT: `frames` lie in `self.frames`. `addr` has the same offset from the address of
        // the map as `frames` from the start of `self.frames`. `'a` borrows `self`.
        Ok(Access {
            // CAST: An offset in mapped memory fits a `usize`.
            addr: self
                .mapped
                .start()
                .wrapping_add((pages.start() << PAGE_SHIFT) as usize),
            frames,
            _map: PhantomData,
        })
    }

    /// Makes the frames of `pages` present in the kernel's linear map. The kernel removes a failed
    /// frame from the linear map after a machine check, and a write to an absent frame crashes the
    /// kernel. The frames keep their poison mark.
    ///
    /// # Errors
    ///
    /// - `ENXIO` if none of the pages lies in the map.
    pub fn make_present(&self, pages: PageRange<space::Device>) -> Result {
        // A previous driver of the memory can have left a frame absent from the linear map. The
        // poison mark of the frame was in the `struct page` of that driver, and is gone. So this
        // does not depend on the mark.
        for pfn in frame_numbers(self.access(pages)?.frames) {
            // SAFETY: `access()` has checked that the frame lies in this map, so it belongs to the
            // linear map.
            unsafe { bindings::clear_mce_nospec(pfn) };
        }
        Ok(())
    }

    /// Removes the poison mark of the frames of `pages`, which must be good again.
    ///
    /// # Errors
    ///
    /// - `ENXIO` if none of the pages lies in the map.
    pub fn clear_poisoned(&self, pages: PageRange<space::Device>) -> Result {
        for pfn in frame_numbers(self.access(pages)?.frames) {
            // SAFETY: `access()` has checked that the frame lies in this map, so it has a `struct
            // page`. `TestClearPageHWPoison()` clears the flag atomically.
            unsafe { bindings::TestClearPageHWPoison(bindings::pfn_to_page(pfn)) };
        }
        Ok(())
    }

    /// Makes the frames present that the machine check handler removed from the kernel's linear
    /// map. Otherwise an access to such a frame by the next driver of the memory would crash the
    /// kernel.
    fn restore_linear_map(&self) {
        for pfn in frame_numbers(self.frames) {
            // SAFETY: `frames` have `struct page`s by the type invariants, so they belong to the
            // linear map.
            unsafe {
                if bindings::TestClearPageHWPoison(bindings::pfn_to_page(pfn)) != 0 {
                    bindings::clear_mce_nospec(pfn);
                }
            }
            // SAFETY: `cond_resched()` requires only a context that may sleep, and the drop sleeps,
            // too.
            unsafe { bindings::cond_resched() };
        }
    }
}

impl<T: Operations> Deref for PageMap<T> {
    type Target = Mapped;

    #[inline]
    fn deref(&self) -> &Mapped {
        &self.mapped
    }
}

#[pinned_drop]
impl<T: Operations> PinnedDrop for PageMap<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: `frames` have `struct page`s by the type invariants. Files get pages only from
        // `dax::Operations::direct_access()`, whose `Access` borrows the data of the DAX device. So
        // these data keep the map, and they are dropped after `kill_dax()`.
        unsafe { users::revoke(self.frames) };

        let (had_failure, last_removal) = {
            let mut failures = self.failures.lock();

            failures.is_removing = true;
            (failures.had_failure, failures.last_removal)
        };

        // No callback is running, and later callbacks decline. So no callback marks a frame after
        // this.
        if let Some(removal) = last_removal {
            removal.wait();
        }
        if had_failure {
            self.restore_linear_map();
        }

        // SAFETY: `memremap_pages()` has mapped `pgmap` by the type invariants. `memunmap_pages()`
        // waits for callbacks.
        unsafe { bindings::memunmap_pages(self.pgmap.get()) };
    }
}

/// Memory of a page map, for `dax_direct_access()`.
///
/// # Invariants
///
/// `addr` is the address of the memory of `frames`, which stays mapped for the duration of `'a`.
pub struct Access<'a> {
    addr: *mut u8,
    frames: PageRange<space::Physical>,
    _map: PhantomData<&'a ()>,
}

impl Access<'_> {
    /// The numbers of the page frames.
    #[inline]
    pub fn frames(&self) -> PageRange<space::Physical> {
        self.frames
    }

    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut c_void {
        self.addr.cast()
    }
}

/// The operations table of `T`.
struct VTable<T: Operations>(PhantomData<T>);

impl<T: Operations> VTable<T> {
    /// # Safety
    ///
    /// Only `memory_failure()` may call this, for the `pgmap` of a [`PageMap<T>`], with a reference
    /// to the `pgmap`.
    unsafe extern "C" fn memory_failure(
        pgmap: *mut bindings::dev_pagemap,
        pfn: c_ulong,
        nr_pages: c_ulong,
        mf_flags: c_int,
    ) -> c_int {
        // `Opaque` is a transparent wrapper of `struct dev_pagemap`.
        let pgmap = pgmap.cast::<Opaque<bindings::dev_pagemap>>();

        // SAFETY: `pgmap` is the field of a `PageMap<T>` by the safety requirements.
        // `PageMap::new()` initializes `ops` and `failures` before `pgmap`, and `memunmap_pages()`
        // waits for the reference. Other fields may not be initialized yet, so this takes no
        // reference to the whole `PageMap<T>`.
        let (ops, failures) = unsafe {
            let map = container_of!(pgmap, PageMap<T>, pgmap);

            (&(*map).ops, &(*map).failures)
        };

        from_result(|| {
            // INVARIANT: `memory_failure()` holds a reference to `pgmap`, so its `struct page`s
            // exist during the call.
            let frames = Frames {
                range: PageRange::new(pfn as u64, nr_pages as u64).ok_or(EINVAL)?,
                _map: PhantomData,
            };

            let mut failures = failures.lock();
            let outcome = if failures.is_removing {
                Outcome::Declined(Reason::Removed)
            } else {
                let flags = Flags::from_raw(mf_flags);
                let is_removed = !flags.contains(Flags::SW_SIMULATED);

                failures.had_failure = true;
                if is_removed {
                    frames.set_poisoned();
                }

                let outcome = ops.memory_failure(frames, flags);

                if is_removed {
                    failures.last_removal = Some(Removal::begin());
                }
                outcome
            };

            outcome.into_result().map(|()| 0)
        })
    }

    const OPS: bindings::dev_pagemap_ops = bindings::dev_pagemap_ops {
        memory_failure: Some(Self::memory_failure),
        ..pin_init::zeroed()
    };
}
