// SPDX-License-Identifier: GPL-2.0

//! Block devices as their users open them.
//!
//! C header: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)

use core::{
    ops::Deref,
    ptr::{
        self,
        NonNull, //
    },
};

use kernel::{
    error::from_err_ptr,
    prelude::*,
    types::Opaque, //
};

use crate::{
    bindings,
    range::{
        space,
        ByteRange,
        Window,
        PAGE_SHIFT,
        SECTOR_SHIFT, //
    },
};

/// An open block device, a disk or a partition of one.
///
/// # Invariants
///
/// `self.0` is a file that `bdev_file_open_by_path()` has opened.
pub struct DeviceFile(NonNull<bindings::file>);

// SAFETY: The file may be used and closed on any thread.
unsafe impl Send for DeviceFile {}

// SAFETY: A shared `DeviceFile` is only looked at.
unsafe impl Sync for DeviceFile {}

impl DeviceFile {
    /// Opens the block device at `path` for reading, without keeping others from it.
    ///
    /// # Errors
    ///
    /// - `ENOENT` if there is nothing at `path`.
    /// - `ENOTBLK` if it is not a block device.
    /// - `ENXIO` if the device is gone.
    pub fn open(path: &CStr) -> Result<Self> {
        // SAFETY: `path` is a valid C string. Without a holder there are no holder operations.
        let file = from_err_ptr(unsafe {
            bindings::bdev_file_open_by_path(
                path.as_char_ptr(),
                bindings::BLK_OPEN_READ,
                ptr::null_mut(),
                ptr::null(),
            )
        })?;

        // INVARIANT: The file was just opened.
        Ok(Self(NonNull::new(file).ok_or(ENXIO)?))
    }
}

impl Deref for DeviceFile {
    type Target = OpenDevice;

    fn deref(&self) -> &OpenDevice {
        // SAFETY: By the type invariants, the block device is open until the file is closed.
        unsafe { OpenDevice::from_raw(bindings::file_bdev(self.0.as_ptr())) }
    }
}

impl Drop for DeviceFile {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, and the file is not used afterwards.
        unsafe { bindings::bdev_fput(self.0.as_ptr()) };
    }
}

/// A block device that somebody has opened, a disk or a partition of one.
///
/// # Invariants
///
/// An `OpenDevice` is a valid `struct block_device` that is open.
#[repr(transparent)]
pub struct OpenDevice(Opaque<bindings::block_device>);

impl OpenDevice {
    /// # Safety
    ///
    /// `bdev` must be valid and open for the duration of `'a`.
    pub(crate) unsafe fn from_raw<'a>(bdev: *mut bindings::block_device) -> &'a Self {
        // INVARIANT: By the safety requirements.
        // SAFETY: By the safety requirements. `OpenDevice` is a transparent wrapper.
        unsafe { &*bdev.cast() }
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::block_device {
        self.0.get()
    }

    /// The disk that the device is, or is a partition of.
    pub fn disk(&self) -> DiskRef {
        // SAFETY: A block device that is open has a disk, which is valid as long as it is open.
        unsafe { DiskRef::get(NonNull::new_unchecked((*self.as_raw()).bd_disk)) }
    }

    /// Whether the device is a partition.
    pub fn is_partition(&self) -> bool {
        // SAFETY: A block device that is open has a disk.
        unsafe { (*(*self.as_raw()).bd_disk).part0 != self.as_raw() }
    }

    /// Whether the disk has DAX.
    pub fn has_dax(&self) -> bool {
        // SAFETY: A block device that is open has a queue.
        let features = unsafe { (*(*self.as_raw()).bd_queue).limits.features };

        features & bindings::BLK_FEAT_DAX != 0
    }

    /// Whether the device starts and ends at a page boundary of its disk.
    pub fn is_page_aligned(&self) -> bool {
        const SECTORS: u64 = 1 << (PAGE_SHIFT - SECTOR_SHIFT);

        // SAFETY: The block device is open.
        let (start, len) = unsafe {
            let bdev = self.as_raw();

            ((*bdev).bd_start_sect, (*bdev).bd_nr_sectors)
        };

        start % SECTORS == 0 && len % SECTORS == 0
    }
}

/// A reference to a disk, whoever drives it. It keeps nobody from removing the disk.
///
/// # Invariants
///
/// `self.0` is a valid disk with a reference to its device that we own.
pub struct DiskRef(NonNull<bindings::gendisk>);

// SAFETY: The reference count of a device is atomic.
unsafe impl Send for DiskRef {}

// SAFETY: A shared `DiskRef` is only looked at.
unsafe impl Sync for DiskRef {}

impl DiskRef {
    /// Takes a reference.
    ///
    /// # Safety
    ///
    /// `disk` must be valid.
    pub(super) unsafe fn get(disk: NonNull<bindings::gendisk>) -> Self {
        // SAFETY: By the safety requirements.
        unsafe { bindings::get_device(disk_to_dev(disk.as_ptr())) };
        // INVARIANT: The reference was just taken.
        Self(disk)
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::gendisk {
        self.0.as_ptr()
    }

    /// Whether this is the kernel's name of the disk, such as `pmem0`.
    pub fn has_name(&self, name: &CStr) -> bool {
        let bytes = name.to_bytes_with_nul();

        // SAFETY: By the type invariants. A disk has its name before anybody can find it, and no
        // other later.
        let disk_name = unsafe { &(*self.0.as_ptr()).disk_name };

        disk_name.get(..bytes.len()) == Some(bytes)
    }

    /// Where the disk, opened as a whole, lies in its DAX device: at the start. [`None`] if the
    /// disk was removed.
    pub fn window(&self) -> Option<Window<space::Device, space::Volume>> {
        // SAFETY: By the type invariants. A disk has its first partition until it is freed.
        unsafe { window_of((*self.0.as_ptr()).part0) }
    }
}

impl Drop for DiskRef {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, and the disk is not used afterwards.
        unsafe { bindings::put_device(disk_to_dev(self.0.as_ptr())) };
    }
}

/// Where a block device lies in its disk, at this moment; [`None`] if it is empty.
///
/// # Safety
///
/// `block_device` must be valid.
pub(crate) unsafe fn window_of(
    block_device: *mut bindings::block_device,
) -> Option<Window<space::Device, space::Volume>> {
    // SAFETY: By the safety requirements. The start does not change. `bdev_set_nr_sectors()` may
    // write the size at any time, in one piece.
    let (start, len) = unsafe {
        (
            (*block_device).bd_start_sect,
            (&raw const (*block_device).bd_nr_sectors).read_volatile(),
        )
    };

    ByteRange::new(
        start.checked_mul(1 << SECTOR_SHIFT)?,
        len.checked_mul(1 << SECTOR_SHIFT)?,
    )
    .map(Window::at)
}

/// C: `disk_to_dev()`
///
/// # Safety
///
/// `disk` must be valid.
unsafe fn disk_to_dev(disk: *mut bindings::gendisk) -> *mut bindings::device {
    // SAFETY: By the safety requirements. A disk has its first partition until it is freed.
    unsafe { &raw mut (*(*disk).part0).bd_device }
}
