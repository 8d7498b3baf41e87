// SPDX-License-Identifier: GPL-2.0

//! The `iomap` operations, by which `fs/dax.c` finds the contents of files.
//!
//! C header: [`include/linux/iomap.h`](srctree/include/linux/iomap.h)

use core::{
    marker::PhantomData,
    ptr, //
};

use kernel::{
    error::from_result,
    prelude::*, //
};

use crate::{
    bindings,
    range::{
        space,
        ByteRange,
        Window,
        PAGE_SIZE, //
    },
};

use super::{
    volume::Devices,
    FileSystem,
    Inode,
    Mapping,
    Place,
    Purpose,
    SuperBlock, //
};

/// The largest end of a range of a file in bytes, which is the largest `loff_t`.
const MAX_END: u64 = i64::MAX as u64;

/// The operations tables of `T`.
pub(super) struct VTable<T: FileSystem>(PhantomData<T>);

impl<T: FileSystem> VTable<T> {
    /// The purpose of a request with the flags `IOMAP_…`.
    fn purpose(flags: u32) -> Purpose {
        match (
            flags & bindings::IOMAP_WRITE != 0,
            flags & bindings::IOMAP_FAULT != 0,
            flags & bindings::IOMAP_ZERO != 0,
        ) {
            (true, true, _) => Purpose::WriteFault,
            (true, false, _) => Purpose::Write,
            (false, _, true) => Purpose::Zero,
            (false, _, false) => Purpose::Read,
        }
    }

    /// Whether the request is a `read()`, which copies from the place.
    fn is_read(flags: u32) -> bool {
        flags & (bindings::IOMAP_DAX | bindings::IOMAP_FAULT) == bindings::IOMAP_DAX
            && Self::purpose(flags) == Purpose::Read
    }

    /// The fields that are the same in every map.
    fn template(devices: &Devices, range: ByteRange<space::File>) -> bindings::iomap {
        bindings::iomap {
            addr: bindings::IOMAP_NULL_ADDR as u64,
            offset: range.start() as bindings::loff_t,
            // A hole can extend beyond the largest file offset.
            length: range.len().min(MAX_END.saturating_sub(range.start())),
            type_: bindings::IOMAP_HOLE as u16,
            flags: 0,
            bdev: devices.block(),
            dax_dev: devices.dax().as_raw(),
            inline_data: ptr::null_mut(),
            private: ptr::null_mut(),
            validity_cookie: 0,
        }
    }

    /// The map of a piece at byte `start` of the volume.
    ///
    /// # Errors
    ///
    /// - `ERANGE` if the piece is not inside the volume.
    fn mapped(
        super_block: &SuperBlock<T>,
        range: ByteRange<space::File>,
        start: u64,
        request: u32,
        flags: u32,
    ) -> Result<bindings::iomap> {
        // For DAX, the address is an offset in the DAX device. Otherwise, it is an offset in the
        // block device.
        let addr = match request & bindings::IOMAP_DAX {
            0 => start,
            _ => super_block
                .volume()
                .locate(ByteRange::new(start, range.len()).ok_or(ERANGE)?)?
                .start(),
        };

        Ok(bindings::iomap {
            addr,
            type_: bindings::IOMAP_MAPPED as u16,
            // CAST: The flags are below 2^16, as in the field.
            flags: flags as u16,
            ..Self::template(super_block.devices(), range)
        })
    }

    /// The part of `mapping` that a page fault for `range` can map. If this part is smaller than
    /// the huge page, the kernel falls back to faults of small pages.
    fn trim_fault(mapping: Mapping, range: ByteRange<space::File>) -> Option<Mapping> {
        // `fs/dax.c` does not handle shared pages in faults of huge pages correctly.
        match range.len() > PAGE_SIZE && mapping.place.is_shared() {
            true => mapping.page_at(range.start()),
            false => Some(mapping),
        }
    }

    /// Translates `mapping` to the target map, and to the source map of a copy.
    ///
    /// # Errors
    ///
    /// - `EHWPOISON` or `EIO`, as `fs/dax.c` expects them, if the piece is bad.
    fn translate(
        super_block: &SuperBlock<T>,
        mapping: &Mapping,
        request: u32,
        purpose: Purpose,
    ) -> Result<(bindings::iomap, Option<bindings::iomap>)> {
        let hole = || Self::template(super_block.devices(), mapping.range);
        let map = |start, flags| Self::mapped(super_block, mapping.range, start, request, flags);

        Ok(match mapping.place {
            Place::Hole => (hole(), None),
            // Bad memory cannot be zeroed, and its contents are gone. So return a hole, which
            // `fs/dax.c` skips.
            Place::Bad { .. } if purpose == Purpose::Zero => (hole(), None),
            Place::Bad { start } if request & bindings::IOMAP_REPORT != 0 => (map(start, 0)?, None),
            Place::Bad { .. } if request & bindings::IOMAP_FAULT != 0 => return Err(EHWPOISON),
            Place::Bad { .. } => return Err(EIO),
            Place::Moved { start } => (map(start, bindings::IOMAP_F_PRIVATE)?, None),
            Place::Mapped {
                start,
                is_shared,
                is_new,
            } => {
                let is_read = matches!(purpose, Purpose::Read);
                let shared = if is_shared && is_read {
                    bindings::IOMAP_F_SHARED
                } else {
                    0
                };
                let new = if is_new { bindings::IOMAP_F_NEW } else { 0 };

                (map(start, shared | new)?, None)
            }
            // With `MAP_SYNC`, the place of a page must be durable before the page is mapped.
            // `IOMAP_F_DIRTY` makes `fs/dax.c` map the page after `end()`.
            //
            // The source map must not have `IOMAP_F_SHARED`: `dax_iomap_copy_around()` would treat
            // it as a hole, and zero the copy.
            Place::Copied { start, source } => (
                map(start, bindings::IOMAP_F_SHARED | bindings::IOMAP_F_DIRTY)?,
                Some(map(source, 0)?),
            ),
        })
    }

    /// Finds the first piece of `range` by `find`, and writes its target map and its source map.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if `range` is [`None`].
    /// - `EAGAIN` if the request is non-blocking and needs an allocation.
    /// - The errors of `find` and [`translate()`](Self::translate).
    ///
    /// # Safety
    ///
    /// - `inode` must be a valid inode of a superblock of type `T`.
    /// - `iomap` and `srcmap` must be valid for writes.
    unsafe fn begin_at(
        inode: *mut bindings::inode,
        range: Option<ByteRange<space::File>>,
        flags: u32,
        iomap: *mut bindings::iomap,
        srcmap: *mut bindings::iomap,
        find: impl FnOnce(&Inode<T>, ByteRange<space::File>) -> Result<Mapping>,
    ) -> Result {
        // SAFETY: `inode` is a valid inode of type `T` by the safety requirements.
        let inode = unsafe { Inode::<T>::from_raw(inode) };
        let purpose = Self::purpose(flags);
        let mapping = find(inode, range.ok_or(EINVAL)?)?;
        let super_block = inode.super_block();
        let (target, source) = Self::translate(super_block, &mapping, flags, purpose)?;

        // SAFETY: `iomap` and `srcmap` are valid for writes by the safety requirements.
        unsafe {
            *iomap = target;
            if let Some(source) = source {
                *srcmap = source;
            }
        }
        Ok(())
    }

    /// Finds the place of a range, or allocates one.
    ///
    /// # Errors
    ///
    /// - `EUCLEAN` if a shared page has no valid place.
    /// - The errors of [`Inode::begin_read()`] and [`Inode::find_or_allocate()`].
    ///
    /// # Safety
    ///
    /// As for [`Inode::find_or_allocate()`].
    #[inline(always)]
    unsafe fn find(inode: &Inode<T>, range: ByteRange<space::File>, flags: u32) -> Result<Mapping> {
        if Self::is_read(flags) {
            return inode.begin_read(range);
        }

        let may_wait = flags & bindings::IOMAP_NOWAIT == 0;
        // SAFETY: For `Purpose::Write`, the caller holds the inode's lock by the safety
        // requirements.
        let found = unsafe { inode.find_or_allocate(range, Self::purpose(flags), may_wait) }?;

        match flags & bindings::IOMAP_FAULT {
            0 => Ok(found),
            _ => Self::trim_fault(found, range).ok_or(EUCLEAN),
        }
    }

    /// # Safety
    ///
    /// Called by `iomap_iter()` only, for an inode of a superblock of type `T`.
    unsafe extern "C" fn begin(
        inode: *mut bindings::inode,
        pos: bindings::loff_t,
        length: bindings::loff_t,
        flags: c_uint,
        iomap: *mut bindings::iomap,
        srcmap: *mut bindings::iomap,
    ) -> c_int {
        // SAFETY: The purpose is `Purpose::Write` for `dax_iomap_rw()` only, which `Request::run()`
        // calls with the inode's lock held.
        let find = |inode: &Inode<T>, range| unsafe { Self::find(inode, range, flags) };

        // SAFETY: `iomap_iter()` passes a valid inode of type `T`, and the two maps of its
        // iterator.
        from_result(|| unsafe {
            Self::begin_at(inode, range(pos, length), flags, iomap, srcmap, find).map(|()| 0)
        })
    }

    /// The same as [`begin()`](Self::begin), for a page fault that does not hold the lock of pages
    /// that several files share.
    ///
    /// # Errors
    ///
    /// - `EDEADLK` if a page is shared, or was shared until now.
    ///
    /// # Safety
    ///
    /// Called by `iomap_iter()` only, for a page fault of an inode of a superblock of type `T`.
    unsafe extern "C" fn begin_unshared(
        inode: *mut bindings::inode,
        pos: bindings::loff_t,
        length: bindings::loff_t,
        flags: c_uint,
        iomap: *mut bindings::iomap,
        srcmap: *mut bindings::iomap,
    ) -> c_int {
        // SAFETY: Only page faults use `UNSHARED_OPS`, so the purpose is not `Purpose::Write`.
        let find = |inode: &Inode<T>, range| unsafe { Self::find(inode, range, flags) };

        from_result(|| {
            // SAFETY: `iomap_iter()` passes a valid inode of type `T`, and the two maps of its
            // iterator.
            unsafe { Self::begin_at(inode, range(pos, length), flags, iomap, srcmap, find) }?;

            // SAFETY: `begin_at()` has filled the map.
            if u32::from(unsafe { (*iomap).flags }) & bindings::IOMAP_F_SHARED == 0 {
                return Ok(0);
            }
            if Self::purpose(flags) == Purpose::WriteFault {
                // SAFETY: `iomap_iter()` passes a valid inode of type `T`.
                let inode = unsafe { Inode::<T>::from_raw(inode) };

                // Nothing was copied.
                inode
                    .fs()
                    .end_copy(inode, range(pos, length).ok_or(EINVAL)?, false)?;
            }
            Err(EDEADLK)
        })
    }

    /// # Safety
    ///
    /// Called by `iomap_iter()` only, for an inode of a superblock of type `T`.
    unsafe extern "C" fn begin_page(
        inode: *mut bindings::inode,
        pos: bindings::loff_t,
        length: bindings::loff_t,
        flags: c_uint,
        iomap: *mut bindings::iomap,
        srcmap: *mut bindings::iomap,
    ) -> c_int {
        let range = range(pos, length);
        // `Remap::run()` holds the locks of both inodes and of both mappings, so neither file moves
        // to another place.
        let find = |inode: &Inode<T>, range: ByteRange<space::File>| {
            let found = inode.find(range, Self::purpose(flags))?;

            found.page_at(range.start()).ok_or(EUCLEAN)
        };

        // SAFETY: `iomap_iter()` passes a valid inode of type `T`, and the two maps of its
        // iterator.
        from_result(|| unsafe {
            Self::begin_at(inode, range, flags, iomap, srcmap, find).map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// Called by `iomap_iter()` only, for an inode of a superblock of type `T`, with a map that
    /// `begin()` has filled.
    unsafe extern "C" fn end(
        inode: *mut bindings::inode,
        pos: bindings::loff_t,
        length: bindings::loff_t,
        written: isize,
        flags: c_uint,
        iomap: *mut bindings::iomap,
    ) -> c_int {
        // SAFETY: `iomap_iter()` passes a valid inode of type `T`, and the map that `begin()` has
        // filled.
        let (inode, iomap) = unsafe { (Inode::<T>::from_raw(inode), &*iomap) };

        // For writes, `translate()` sets `IOMAP_F_SHARED` for `Place::Copied` only, and
        // `IOMAP_F_PRIVATE` for `Place::Moved` only.
        let mark = match Self::purpose(flags) {
            Purpose::WriteFault => bindings::IOMAP_F_SHARED,
            Purpose::Write => bindings::IOMAP_F_PRIVATE,
            Purpose::Read if Self::is_read(flags) => bindings::IOMAP_F_SHARED,
            _ => 0,
        };

        if u32::from(iomap.flags) & mark == 0 {
            return 0;
        }

        from_result(|| {
            if Self::is_read(flags) {
                return inode.end_read(iomap).map(|()| 0);
            }

            let range = range(pos, length).ok_or(EINVAL)?;

            // If the request did not write the whole block, the file stays at its old place.
            let is_done = written as bindings::loff_t == length;
            let result = inode.end_copy(range, iomap, is_done);
            let shared_pages = inode.super_block().shared_pages();

            match Self::purpose(flags) {
                Purpose::WriteFault if !is_done || result.is_err() => shared_pages.lose_copy(),
                Purpose::Write if written != 0 && (!is_done || result.is_err()) => {
                    inode.set_write_error();
                    shared_pages.count_lost_write();
                }
                _ => (),
            }
            result.map(|()| 0)
        })
    }

    /// The operations for all requests without a table of their own.
    pub(super) const OPS: bindings::iomap_ops = bindings::iomap_ops {
        iomap_begin: Some(Self::begin),
        iomap_end: Some(Self::end),
        iomap_next: None,
    };

    /// The operations for page faults that do not hold the lock of pages that several files share.
    pub(super) const UNSHARED_OPS: bindings::iomap_ops = bindings::iomap_ops {
        iomap_begin: Some(Self::begin_unshared),
        iomap_end: Some(Self::end),
        iomap_next: None,
    };

    /// The operations to compare contents, page by page, because `dax_range_compare_iter()` assumes
    /// that the memory of a map is contiguous.
    pub(super) const COMPARE_OPS: bindings::iomap_ops = bindings::iomap_ops {
        iomap_begin: Some(Self::begin_page),
        iomap_end: None,
        iomap_next: None,
    };
}

impl<T: FileSystem> Inode<T> {
    /// Ends a write to a new place of the contents.
    ///
    /// # Errors
    ///
    /// - The errors of [`write_back_copy()`](Self::write_back_copy) and
    ///   [`FileSystem::end_copy()`].
    fn end_copy(
        &self,
        range: ByteRange<space::File>,
        iomap: &bindings::iomap,
        is_done: bool,
    ) -> Result {
        if is_done {
            self.write_back_copy(range, iomap)?;
        }
        self.fs().end_copy(self, range, is_done)
    }

    /// Makes the next `fsync()` of each open file, and the next `syncfs()`, return `EIO`, because
    /// data that were written or stored are lost. Unlike `mapping_set_error()`, this does not make
    /// the next writeback fail.
    pub(super) fn set_write_error(&self) {
        let error = EIO.to_errno();

        // SAFETY: `self` is a valid inode by the type invariants of `Inode`, so its mapping and its
        // superblock are valid. Both functions change the error atomically.
        unsafe {
            bindings::__filemap_set_wb_err(self.mapping(), error);
            bindings::errseq_set(&raw mut (*(*self.as_raw()).i_sb).s_wb_err, error);
        }
    }

    /// Writes back the copy at the new place, before the filesystem moves the file there. The old
    /// contents can be durable, and then the new contents must be durable, too.
    ///
    /// # Errors
    ///
    /// - The errors of [`Volume::write_back()`](super::Volume::write_back).
    fn write_back_copy(&self, range: ByteRange<space::File>, iomap: &bindings::iomap) -> Result {
        let volume = self.super_block().volume();
        let copy = extent_of(iomap)
            .and_then(|extent| volume.window().inward(extent.outward(range)?))
            .ok_or(EUCLEAN)?;

        volume.write_back(copy)
    }

    /// Ends a read of one piece.
    ///
    /// # Errors
    ///
    /// - `EUCLEAN` if `iomap` is not a map that `begin()` has filled.
    fn end_read(&self, iomap: &bindings::iomap) -> Result {
        let extent = extent_of(iomap).ok_or(EUCLEAN)?;
        let place = self.super_block().volume().window().inward(extent.outer());

        self.fs()
            .end_read(self, extent.inner(), place.ok_or(EUCLEAN)?.start());
        Ok(())
    }
}

/// The bytes of a file in a map for DAX, and their place in the DAX device.
fn extent_of(iomap: &bindings::iomap) -> Option<Window<space::Device, space::File>> {
    let inner = ByteRange::new(u64::try_from(iomap.offset).ok()?, iomap.length)?;

    Window::new(ByteRange::new(iomap.addr, iomap.length)?, inner)
}

/// Converts a position and a length of C to a range of a file.
fn range(pos: bindings::loff_t, length: bindings::loff_t) -> Option<ByteRange<space::File>> {
    ByteRange::new(u64::try_from(pos).ok()?, u64::try_from(length).ok()?)
}
