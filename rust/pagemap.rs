// SPDX-License-Identifier: GPL-2.0

//! Device memory with page frames: `struct dev_pagemap`.
//!
//! A [`PageMap`] gives `struct page`s to a range of physical memory, so that it can be mapped by
//! DAX filesystems, and receives the memory failures of its frames.
//!
//! Unsupported: other types than `MEMORY_DEVICE_FS_DAX`, several ranges.
//!
//! C header: [`include/linux/memremap.h`](srctree/include/linux/memremap.h)
//!
//! Reference: [`mm/memremap.c`](srctree/mm/memremap.c)

mod claim;
mod layout;
mod users;

pub use self::claim::Claim;

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

// `range` is built without the kernel, too.
const _: () = assert!(PAGE_SHIFT as usize == kernel::page::PAGE_SHIFT);

/// Callbacks of a page map.
///
/// C: `struct dev_pagemap_ops`
pub trait Operations: Send + Sync + 'static {
    /// Deals with a memory failure.
    ///
    /// Called in process context under the kernel's one `mf_mutex`; may sleep, but must not wait
    /// for another memory failure. It may be called before [`PageMap::new()`] has returned.
    fn memory_failure(&self, frames: Frames<'_>, flags: Flags) -> Outcome;
}

/// Frames of a page map that is there.
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
    pub fn set_poisoned(&self) {
        for pfn in frame_numbers(self.range) {
            // SAFETY: The frame has a page by the type invariants. The flag is set atomically.
            unsafe { bindings::SetPageHWPoison(bindings::pfn_to_page(pfn)) };
        }
    }
}

/// Gives frames in front of the data the node and zone of those of the data.
///
/// `memremap_pages()` does not initialize the `struct page`s of what an altmap reserves, which lie
/// on media: they hold what was there. `memory_failure()` handles no failure of these frames, but
/// counts it for their node, and the kernel dies where that is none.
///
/// # Safety
///
/// Both must be mapped by `memremap_pages()`, `reserved` as what its altmap reserves.
unsafe fn set_node_and_zone(
    reserved: PageRange<space::Physical>,
    data: PageRange<space::Physical>,
) {
    // SAFETY: The frames of all that is mapped have a place in the array of `struct page`s, and
    // `memmap_init_zone_device()` has initialized those of the data. Nobody uses the others.
    unsafe {
        let flags = (*bindings::pfn_to_page(data.start() as c_ulong)).flags;

        for pfn in frame_numbers(reserved) {
            (*bindings::pfn_to_page(pfn)).flags = flags;
        }
    }
}

/// The numbers of the frames, as C takes them.
// CAST: A frame number is a `u64` here and an `unsigned long` in C, which are the same.
fn frame_numbers(frames: PageRange<space::Physical>) -> impl Iterator<Item = c_ulong> {
    (frames.start()..frames.end()).map(|pfn| pfn as c_ulong)
}

/// The number of bytes that start and size of a page map must be a multiple of.
///
/// C: `memremap_compat_align()`
pub fn alignment() -> u64 {
    // SAFETY: The function returns a constant of the architecture.
    let align = unsafe { bindings::memremap_compat_align() };

    // CAST: An `unsigned long` is a `u64` here.
    align as u64
}

/// A range of physical memory with page frames.
///
/// It is the memory of a DAX device, whose bytes and pages are those of the data in it. They are
/// read and written as the [`Mapped`] that it derefs to.
///
/// When dropped, files that have pages of it lose them, whoever else uses one and running callbacks
/// are waited for, and the pages go. The DAX device on top must be dead: its holder has been told
/// ([`Flags::MEM_PRE_REMOVE`]), and no file gets a page any more.
///
/// The memory is there as long as the page map is: its [`Claim`] keeps the namespace bound. Nothing
/// is checked when the memory is accessed.
///
/// # Invariants
///
/// - `pgmap` is mapped.
/// - `mapped` is the memory of `frames`, which are those of the data, and have pages as long as
///   `self` exists.
#[pin_data(PinnedDrop)]
pub struct PageMap<T: Operations> {
    // The callback uses these as soon as the pages are there, so they come first.
    ops: T,
    #[pin]
    gate: Mutex<Gate>,
    #[pin]
    pgmap: Opaque<bindings::dev_pagemap>,
    mapped: Mapped,
    frames: PageRange<space::Physical>,
    // What the pages are made of; given back last.
    _claim: Claim,
}

/// What memory failures pass through. Locked while one is dealt with.
struct Gate {
    /// Whether the pages are about to go.
    is_closed: bool,
    /// Whether one has passed, so that frames may be marked.
    has_passed: bool,
}

// SAFETY: A page map may be dropped on any thread if its callbacks may.
unsafe impl<T: Operations> Send for PageMap<T> {}

// SAFETY: Everything is constant, or `Sync`, as the callbacks are by the bounds of `Operations`.
unsafe impl<T: Operations> Sync for PageMap<T> {}

impl<T: Operations> PageMap<T> {
    /// Maps memory. The `struct page`s are allocated on NUMA node `node`, unless the memory has a
    /// place for them itself.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if start or size of what is mapped are not multiples of [`alignment()`].
    /// - `EINVAL` if the memory is padded at its start
    ///   ([`Kind::PaddedPfn`](crate::nvdimm::namespace::Kind::PaddedPfn)).
    /// - `ENXIO` if the range is ordinary memory.
    /// - `ENOMEM` if memory is short.
    pub fn new(claim: Claim, node: Node, ops: T) -> impl PinInit<Self, Error> {
        let layout = claim.layout;
        let data = layout.data().outer();
        let mut addr = ptr::null_mut::<u8>();

        try_pin_init!(Self {
            ops,
            gate <- new_mutex!(Gate {
                is_closed: false,
                has_passed: false,
            }),
            pgmap <- Opaque::try_ffi_init(|pgmap: *mut bindings::dev_pagemap| {
                if layout.is_padded() || !layout.mapped.is_aligned(alignment()) {
                    return Err(EINVAL);
                }
                // SAFETY: `pgmap` is valid for writes.
                unsafe { Self::describe(pgmap, layout) };

                // SAFETY: `pgmap` is set up and stays in place until the pages are unmapped.
                let start = unsafe { bindings::memremap_pages(pgmap, node.as_raw()) };
                let start = from_err_ptr(start)?;

                let reserved = layout.reserved();

                if let (Some(reserved), true) = (reserved, layout.altmap.is_some()) {
                    // SAFETY: The memory has just been mapped.
                    unsafe { set_node_and_zone(reserved.pages(), data.pages()) };
                }

                let offset = reserved.map_or(0, ByteRange::len);

                // CAST: An offset in memory that is mapped is a `usize`.
                addr = start.cast::<u8>().wrapping_add(offset as usize);
                Ok(())
            }),
            // SAFETY: `memremap_pages()` has mapped it, until the page map is dropped.
            mapped: unsafe { Mapped::new(addr, data.len()) },
            frames: data.pages(),
            _claim: claim,
        })
    }

    /// Describes memory to `memremap_pages()`.
    ///
    /// # Safety
    ///
    /// `pgmap` must be valid for writes.
    unsafe fn describe(pgmap: *mut bindings::dev_pagemap, layout: Layout) {
        // SAFETY: `pgmap` is valid for writes, and all of its fields may be zero. Of the two ways
        // to give ranges, `range` is the one for a single range.
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

    /// Where the pages of the device lie in physical memory.
    #[inline]
    fn window(&self) -> Window<space::Physical, space::Device, Pages> {
        Window::at(self.frames)
    }

    /// Gives access to the memory of `pages`, as far as they lie in the map.
    ///
    /// # Errors
    ///
    /// - `ENXIO` if none of them does.
    #[inline]
    pub fn access(&self, pages: PageRange<space::Device>) -> Result<Access<'_>> {
        let frames = self.window().clip_outward(pages).ok_or(ENXIO)?;

        // INVARIANT: `frames` are ours, and the address is moved by as much as they are.
        Ok(Access {
            // CAST: An offset in memory that is mapped is a `usize`.
            addr: self
                .mapped
                .start()
                .wrapping_add((pages.start() << PAGE_SHIFT) as usize),
            frames,
            _map: PhantomData,
        })
    }

    /// Makes the frames of `pages` present in the kernel's linear map, from which the machine check
    /// handler may have taken them. They can be written to then; that they are bad is still marked.
    ///
    /// # Errors
    ///
    /// - `ENXIO` if none of them lies in the map.
    pub fn make_present(&self, pages: PageRange<space::Device>) -> Result {
        // A former driver may have left a hole in the linear map without a mark on our page, so the
        // mark does not tell whether the frame must be brought back.
        for pfn in frame_numbers(self.access(pages)?.frames) {
            // SAFETY: `access()` has checked that the frame is one of ours, so it has a place in
            // the linear map.
            unsafe { bindings::clear_mce_nospec(pfn) };
        }
        Ok(())
    }

    /// Takes the poison mark from the frames of `pages`, which are good again.
    ///
    /// # Errors
    ///
    /// - `ENXIO` if none of them lies in the map.
    pub fn clear_poisoned(&self, pages: PageRange<space::Device>) -> Result {
        for pfn in frame_numbers(self.access(pages)?.frames) {
            // SAFETY: `access()` has checked that the frame is one of ours, so it has a page. The
            // flag is cleared atomically.
            unsafe { bindings::TestClearPageHWPoison(bindings::pfn_to_page(pfn)) };
        }
        Ok(())
    }

    /// Makes the frames that the machine check handler took from the kernel's linear map present
    /// again. A hole would outlast the pages: whoever maps the memory next would run into it.
    fn restore_linear_map(&self) {
        for pfn in frame_numbers(self.frames) {
            // SAFETY: All frames are ours, so they have pages and a place in the linear map.
            unsafe {
                if bindings::TestClearPageHWPoison(bindings::pfn_to_page(pfn)) != 0 {
                    bindings::clear_mce_nospec(pfn);
                }
            }
            // SAFETY: The drop of a page map may sleep, as `memunmap_pages()` does.
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
        // SAFETY: By the type invariants. Access to the memory has ended with its last user: the
        // DAX device on top is dead.
        unsafe { users::revoke(self.frames) };

        let has_passed = {
            let mut gate = self.gate.lock();

            gate.is_closed = true;
            gate.has_passed
        };

        // No callback is running, and none will: what is marked now is all.
        if has_passed {
            self.restore_linear_map();
        }

        // SAFETY: The pages were mapped by `memremap_pages()`. This waits for callbacks.
        unsafe { bindings::memunmap_pages(self.pgmap.get()) };
    }
}

/// Memory of a page map, to be handed to `dax_direct_access()`.
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
    /// Called by `memory_failure()` only, for a page map of a [`PageMap<T>`], with a reference to
    /// it.
    unsafe extern "C" fn memory_failure(
        pgmap: *mut bindings::dev_pagemap,
        pfn: c_ulong,
        nr_pages: c_ulong,
        mf_flags: c_int,
    ) -> c_int {
        // `Opaque` is a transparent wrapper.
        let pgmap = pgmap.cast::<Opaque<bindings::dev_pagemap>>();

        // SAFETY: `pgmap` is the field of a `PageMap<T>`, of which these two fields are initialized
        // before it. It is not unmapped before the reference was given up. The other fields may
        // not be initialized yet, so there is no reference to the whole.
        let (ops, gate) = unsafe {
            let map = container_of!(pgmap, PageMap<T>, pgmap);

            (&(*map).ops, &(*map).gate)
        };

        from_result(|| {
            // INVARIANT: The reference to the page map keeps its pages.
            let frames = Frames {
                range: PageRange::new(pfn as u64, nr_pages as u64).ok_or(EINVAL)?,
                _map: PhantomData,
            };

            let mut gate = gate.lock();
            let outcome = if gate.is_closed {
                Outcome::Declined(Reason::Removed)
            } else {
                gate.has_passed = true;
                ops.memory_failure(frames, Flags::from_raw(mf_flags))
            };

            outcome.into_result().map(|()| 0)
        })
    }

    const OPS: bindings::dev_pagemap_ops = bindings::dev_pagemap_ops {
        memory_failure: Some(Self::memory_failure),
        ..pin_init::zeroed()
    };
}
