// SPDX-License-Identifier: GPL-2.0

//! Where the contents of files lie, as `fs/dax.c` asks for it.
//!
//! C header: [`include/linux/iomap.h`](srctree/include/linux/iomap.h)

use core::{
    marker::PhantomData,
    ptr, //
};

use kernel::{
    error::{
        from_result,
        to_result, //
    },
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

/// The greatest end of a range of a file, as `loff_t` has it.
const MAX_END: u64 = i64::MAX as u64;

/// The operations tables of `T`.
pub(super) struct VTable<T: FileSystem>(PhantomData<T>);

impl<T: FileSystem> VTable<T> {
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

    /// Whether it is `read()` that asks, which copies from the place.
    fn is_read(flags: u32) -> bool {
        flags & (bindings::IOMAP_DAX | bindings::IOMAP_FAULT) == bindings::IOMAP_DAX
            && Self::purpose(flags) == Purpose::Read
    }

    /// What is the same for each mapping.
    fn template(devices: &Devices, range: ByteRange<space::File>) -> bindings::iomap {
        bindings::iomap {
            addr: bindings::IOMAP_NULL_ADDR as u64,
            offset: range.start() as bindings::loff_t,
            // A hole may reach beyond what a file can.
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

    /// A piece that lies on the volume from byte `start` on.
    ///
    /// # Errors
    ///
    /// - `ERANGE` if it does not.
    fn mapped(
        super_block: &SuperBlock<T>,
        range: ByteRange<space::File>,
        start: u64,
        request: u32,
        flags: u32,
    ) -> Result<bindings::iomap> {
        // DAX counts from the start of the DAX device, everybody else from that of the block
        // device.
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
            // CAST: These flags are below 2^16, as the field is.
            flags: flags as u16,
            ..Self::template(super_block.devices(), range)
        })
    }

    /// What of `mapping` can be mapped by the page that a fault is for, of which `range` is. With
    /// less than all of a huge page, there will be faults of small ones.
    fn trim_fault(mapping: Mapping, range: ByteRange<space::File>) -> Option<Mapping> {
        // The kernel gets the memory of shared pages wrong where it has huge pages.
        match range.len() > PAGE_SIZE && mapping.place.is_shared() {
            true => mapping.page_at(range.start()),
            false => Some(mapping),
        }
    }

    /// The two maps that say what `mapping` says.
    ///
    /// # Errors
    ///
    /// - `EHWPOISON` or `EIO`, as `fs/dax.c` expects them, if it is bad.
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
            // What is lost need not be zeroed, and cannot be.
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
            // With MAP_SYNC, whoever writes through a mapping relies on what is durable when the
            // page is mapped. What is said to be dirty is mapped after `end()`, and not before.
            //
            // The source must not be said to be shared: `dax_iomap_copy_around()` takes that for a
            // hole, and zeroes instead of copying.
            Place::Copied { start, source } => (
                map(start, bindings::IOMAP_F_SHARED | bindings::IOMAP_F_DIRTY)?,
                Some(map(source, 0)?),
            ),
        })
    }

    /// # Errors
    ///
    /// - `EINVAL` if the range is none.
    /// - `EAGAIN` if somebody does not want to wait for what has to be done.
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
        // SAFETY: By the safety requirements.
        let inode = unsafe { Inode::<T>::from_raw(inode) };
        let purpose = Self::purpose(flags);
        let mapping = find(inode, range.ok_or(EINVAL)?)?;
        let super_block = inode.super_block();
        let (target, source) = Self::translate(super_block, &mapping, flags, purpose)?;

        // SAFETY: By the safety requirements.
        unsafe {
            *iomap = target;
            if let Some(source) = source {
                *srcmap = source;
            }
        }
        Ok(())
    }

    /// Finds what lies in a range, or makes it lie somewhere.
    ///
    /// # Errors
    ///
    /// - `EUCLEAN` if a shared page lies nowhere.
    /// - Those of [`Inode::begin_read()`] and [`Inode::find_or_make()`].
    ///
    /// # Safety
    ///
    /// As [`Inode::find_or_make()`].
    #[inline(always)]
    unsafe fn find(inode: &Inode<T>, range: ByteRange<space::File>, flags: u32) -> Result<Mapping> {
        if Self::is_read(flags) {
            return inode.begin_read(range);
        }

        let may_wait = flags & bindings::IOMAP_NOWAIT == 0;
        // SAFETY: By the safety requirements.
        let found = unsafe { inode.find_or_make(range, Self::purpose(flags), may_wait) }?;

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
        // SAFETY: By the safety requirements. It is for a write when `dax_iomap_rw()` asks for it,
        // which `Request::run()` calls with the lock held.
        let find = |inode: &Inode<T>, range| unsafe { Self::find(inode, range, flags) };

        // SAFETY: By the safety requirements. `iomap_iter()` passes two maps of its iterator.
        from_result(|| unsafe {
            Self::begin_at(inode, range(pos, length), flags, iomap, srcmap, find).map(|()| 0)
        })
    }

    /// Finds what needs no lock of pages that several files share.
    ///
    /// # Errors
    ///
    /// - `EDEADLK` if a page is shared, or was until now.
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
        // SAFETY: By the safety requirements. No write asks for it.
        let find = |inode: &Inode<T>, range| unsafe { Self::find(inode, range, flags) };

        from_result(|| {
            // SAFETY: By the safety requirements. `iomap_iter()` passes two maps of its iterator.
            unsafe { Self::begin_at(inode, range(pos, length), flags, iomap, srcmap, find) }?;

            // SAFETY: The map has been filled.
            if u32::from(unsafe { (*iomap).flags }) & bindings::IOMAP_F_SHARED == 0 {
                return Ok(0);
            }
            // SAFETY: By the safety requirements, and the map has been filled.
            to_result(unsafe { Self::end(inode, pos, length, 0, flags, iomap) })?;
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
        // Nobody else has the locks that it takes to give one of the files another place.
        let find = |inode: &Inode<T>, range: ByteRange<space::File>| {
            let found = inode.find(range, Self::purpose(flags))?;

            found.page_at(range.start()).ok_or(EUCLEAN)
        };

        // SAFETY: By the safety requirements. `iomap_iter()` passes two maps of its iterator.
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
        // SAFETY: By the safety requirements.
        let (inode, iomap) = unsafe { (Inode::<T>::from_raw(inode), &*iomap) };

        // Of those who write, only they who copy are told that it is shared, and only they who
        // move that it is private.
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

            // A block is written whole or not at all, or else it stays bad.
            inode
                .end_copy(range, iomap, written as bindings::loff_t == length)
                .map(|()| 0)
        })
    }

    /// What everybody uses.
    pub(super) const OPS: bindings::iomap_ops = bindings::iomap_ops {
        iomap_begin: Some(Self::begin),
        iomap_end: Some(Self::end),
        iomap_next: None,
    };

    /// Those of page faults that have no lock of pages that several files share.
    pub(super) const UNSHARED_OPS: bindings::iomap_ops = bindings::iomap_ops {
        iomap_begin: Some(Self::begin_unshared),
        iomap_end: Some(Self::end),
        iomap_next: None,
    };

    /// What is used to compare contents: page by page, for `dax_range_compare_iter()` takes it for
    /// granted that memory lies in a row.
    pub(super) const COMPARE_OPS: bindings::iomap_ops = bindings::iomap_ops {
        iomap_begin: Some(Self::begin_page),
        iomap_end: None,
        iomap_next: None,
    };
}

impl<T: FileSystem> Inode<T> {
    /// Ends a write to another place than where the contents lie.
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

    /// Writes back what was copied to a new place, before the file is said to lie there: until now
    /// the file had contents that may have been durable for long.
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

    /// Ends a read of what lies in one place.
    ///
    /// # Errors
    ///
    /// - `EUCLEAN` if `iomap` is not what was found.
    fn end_read(&self, iomap: &bindings::iomap) -> Result {
        let extent = extent_of(iomap).ok_or(EUCLEAN)?;
        let place = self.super_block().volume().window().inward(extent.outer());

        self.fs()
            .end_read(self, extent.inner(), place.ok_or(EUCLEAN)?.start());
        Ok(())
    }
}

/// The bytes of a file that a map of DAX has, and where they lie on the DAX device.
fn extent_of(iomap: &bindings::iomap) -> Option<Window<space::Device, space::File>> {
    let inner = ByteRange::new(u64::try_from(iomap.offset).ok()?, iomap.length)?;

    Window::new(ByteRange::new(iomap.addr, iomap.length)?, inner)
}

/// The range of a file that C gives as two `loff_t`.
fn range(pos: bindings::loff_t, length: bindings::loff_t) -> Option<ByteRange<space::File>> {
    ByteRange::new(u64::try_from(pos).ok()?, u64::try_from(length).ok()?)
}
