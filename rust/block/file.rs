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
    error::{
        from_err_ptr,
        to_result, //
    },
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

    /// A reference that may outlive the time that it is open.
    pub(crate) fn reference(&self) -> BlockDeviceRef {
        // SAFETY: A block device that is open is valid. `from_raw()` has got its address.
        unsafe { BlockDeviceRef::get(NonNull::new_unchecked(self.as_raw())) }
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

/// A reference to a block device, whoever drives its disk. It keeps nobody from removing the disk.
///
/// It is not one to the device: the last of these calls into the module of the disk's driver, which
/// may be gone.
///
/// # Invariants
///
/// `self.0` is valid, and we own a reference to its inode, which keeps it in memory.
pub(crate) struct BlockDeviceRef(NonNull<bindings::block_device>);

// SAFETY: `iput()` may be called from any thread.
unsafe impl Send for BlockDeviceRef {}

// SAFETY: A shared `BlockDeviceRef` reads the size of the block device, which is a single word.
unsafe impl Sync for BlockDeviceRef {}

impl BlockDeviceRef {
    /// Takes a reference.
    ///
    /// # Safety
    ///
    /// `block_device` must be valid.
    pub(crate) unsafe fn get(block_device: NonNull<bindings::block_device>) -> Self {
        // SAFETY: By the safety requirements. The disk has a reference to the inode.
        unsafe { bindings::ihold(inode(block_device)) };
        // INVARIANT: The reference was just taken. `bdev_free_inode()` frees the block device.
        Self(block_device)
    }

    /// Where the block device lies in its disk, at this moment; [`None`] if it is empty, as it is
    /// when the disk is being removed.
    pub(crate) fn window(&self) -> Option<Window<space::Device, space::Volume>> {
        // SAFETY: By the type invariants.
        unsafe { window_of(self.0.as_ptr()) }
    }
}

impl Drop for BlockDeviceRef {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, and the block device is not used afterwards.
        unsafe { bindings::iput(inode(self.0)) };
    }
}

/// The inode of a block device.
///
/// # Safety
///
/// `block_device` must be valid.
unsafe fn inode(block_device: NonNull<bindings::block_device>) -> *mut bindings::inode {
    // SAFETY: By the safety requirements. `bdev_alloc()` sets `bd_mapping` to that of the inode.
    unsafe { (*(*block_device.as_ptr()).bd_mapping).host }
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

/// A reference to a disk, whoever drives it. It keeps nobody from removing the disk.
///
/// # Invariants
///
/// `self.0` is the block device of a whole disk: `bdev_free_inode()` frees the disk with it.
pub struct DiskRef(BlockDeviceRef);

impl DiskRef {
    /// Takes a reference.
    ///
    /// # Safety
    ///
    /// `disk` must be valid.
    pub(super) unsafe fn get(disk: NonNull<bindings::gendisk>) -> Self {
        // INVARIANT: `part0` is that of the whole disk.
        // SAFETY: By the safety requirements. A disk has its first block device until it is freed.
        Self(unsafe { BlockDeviceRef::get(NonNull::new_unchecked((*disk.as_ptr()).part0)) })
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::gendisk {
        // SAFETY: The block device is valid by the type invariants of the reference. Its disk does
        // not change.
        unsafe { (*self.0 .0.as_ptr()).bd_disk }
    }

    /// The kernel's name of the disk, such as `pmem0`.
    pub fn name(&self) -> &CStr {
        // SAFETY: By the type invariants. A disk has its name before anybody can find it, and no
        // other later; it ends within the field.
        unsafe { CStr::from_char_ptr((*self.as_raw()).disk_name.as_ptr()) }
    }

    /// Sends a `change` event of the disk to udev, with `property`, such as `NAME=value`.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    /// - `EINVAL` if the disk was removed.
    ///
    /// C: `kobject_uevent_env()`
    pub fn notify_change(&self, property: &CStr) -> Result {
        let mut properties = [property.as_char_ptr().cast_mut(), ptr::null_mut()];

        // SAFETY: By the type invariants. Whoever has a reference has found the disk, so that its
        // device was added. The function changes neither the array nor the text.
        to_result(unsafe {
            bindings::kobject_uevent_env(
                &raw mut (*(*self.as_raw()).part0).bd_device.kobj,
                bindings::kobject_action_KOBJ_CHANGE,
                properties.as_mut_ptr(),
            )
        })
    }

    /// Where the disk, opened as a whole, lies in its DAX device: at the start. [`None`] if the
    /// disk was removed.
    pub fn window(&self) -> Option<Window<space::Device, space::Volume>> {
        self.0.window()
    }
}
