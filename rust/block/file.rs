// SPDX-License-Identifier: GPL-2.0

//! Open block devices, and references to block devices and disks.
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

/// A block device that [`open()`](Self::open) has opened by its path: a disk or a partition. The
/// drop closes the device.
///
/// # Invariants
///
/// `self.0` is an open file that `bdev_file_open_by_path()` returned.
pub struct DeviceFile(NonNull<bindings::file>);

// SAFETY: `bdev_fput()` may be called on any thread.
unsafe impl Send for DeviceFile {}

// SAFETY: The methods of a shared `DeviceFile` only read the block device and take references to
// it.
unsafe impl Sync for DeviceFile {}

impl DeviceFile {
    /// Opens the block device at `path` for reading, without exclusive access.
    ///
    /// # Errors
    ///
    /// - `ENOENT` if there is no file at `path`.
    /// - `ENOTBLK` if the file is not a block device.
    /// - `EACCES` if the filesystem of `path` is mounted with `nodev`.
    /// - `ENXIO` if the device was removed.
    /// - `ENOMEM` if memory is short.
    pub fn open(path: &CStr) -> Result<Self> {
        // SAFETY: `path` is a valid C string. The holder is null, so the operations may be null,
        // too.
        let file = from_err_ptr(unsafe {
            bindings::bdev_file_open_by_path(
                path.as_char_ptr(),
                bindings::BLK_OPEN_READ,
                ptr::null_mut(),
                ptr::null(),
            )
        })?;

        // INVARIANT: `bdev_file_open_by_path()` has just opened the file.
        Ok(Self(NonNull::new(file).ok_or(ENXIO)?))
    }
}

impl Deref for DeviceFile {
    type Target = OpenDevice;

    fn deref(&self) -> &OpenDevice {
        // SAFETY: `self.0` is an open file of a block device by the type invariants. It stays open
        // until `self` is dropped.
        unsafe { OpenDevice::from_raw(bindings::file_bdev(self.0.as_ptr())) }
    }
}

impl Drop for DeviceFile {
    fn drop(&mut self) {
        // SAFETY: `self.0` is an open file by the type invariants. It is not used afterwards.
        unsafe { bindings::bdev_fput(self.0.as_ptr()) };
    }
}

/// An open block device: a disk or a partition.
///
/// # Invariants
///
/// An `OpenDevice` is a valid `struct block_device` that is open.
#[repr(transparent)]
pub struct OpenDevice(Opaque<bindings::block_device>);

impl OpenDevice {
    /// Borrows an open block device from C.
    ///
    /// # Safety
    ///
    /// `bdev` must be valid and open for the duration of `'a`.
    pub(crate) unsafe fn from_raw<'a>(bdev: *mut bindings::block_device) -> &'a Self {
        // INVARIANT: `bdev` is valid and open by the safety requirements.
        // SAFETY: `bdev` is valid for `'a` by the safety requirements. `OpenDevice` is a
        // transparent wrapper of `struct block_device`.
        unsafe { &*bdev.cast() }
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::block_device {
        self.0.get()
    }

    /// Takes a reference, which may outlive the open file.
    pub(crate) fn reference(&self) -> BlockDeviceRef {
        // SAFETY: `self` is a valid `struct block_device` by the type invariants, so its address is
        // not null.
        unsafe { BlockDeviceRef::get(NonNull::new_unchecked(self.as_raw())) }
    }

    /// Takes a reference to the disk: the device itself, or the disk of the partition.
    pub fn disk(&self) -> DiskRef {
        // SAFETY: The block device is open by the type invariants. Its disk is valid while it is
        // open.
        unsafe { DiskRef::get(NonNull::new_unchecked((*self.as_raw()).bd_disk)) }
    }

    /// Whether the device is a partition.
    pub fn is_partition(&self) -> bool {
        // SAFETY: The block device is open by the type invariants. Its disk is valid while it is
        // open.
        unsafe { (*(*self.as_raw()).bd_disk).part0 != self.as_raw() }
    }

    /// Whether the disk supports DAX.
    pub fn has_dax(&self) -> bool {
        // SAFETY: The block device is open by the type invariants. Its queue is valid while it is
        // open. A driver can change the features at any time, so the read is volatile.
        let features =
            unsafe { (&raw const (*(*self.as_raw()).bd_queue).limits.features).read_volatile() };

        features & bindings::BLK_FEAT_DAX != 0
    }

    /// Whether the device starts and ends on a page boundary of its disk.
    pub fn is_page_aligned(&self) -> bool {
        const SECTORS: u64 = 1 << (PAGE_SHIFT - SECTOR_SHIFT);

        // SAFETY: `self` is a valid `struct block_device` by the type invariants. The kernel can
        // write the size at any time, so the read is volatile.
        let (start, len) = unsafe {
            let bdev = self.as_raw();

            (
                (*bdev).bd_start_sect,
                (&raw const (*bdev).bd_nr_sectors).read_volatile(),
            )
        };

        start % SECTORS == 0 && len % SECTORS == 0
    }
}

/// A reference to a block device of any driver. It does not prevent the removal of the disk.
///
/// This is a reference to the inode and not to the `struct device`, because the last put of a
/// `struct device` calls into the module of the disk's driver, which may be unloaded by then.
///
/// # Invariants
///
/// `self.0` points to a valid `struct block_device`. `self` owns a reference to its inode, which
/// keeps it in memory.
pub(crate) struct BlockDeviceRef(NonNull<bindings::block_device>);

// SAFETY: `iput()` may be called from any thread.
unsafe impl Send for BlockDeviceRef {}

// SAFETY: The methods of a shared `BlockDeviceRef` read the start of the block device, which does
// not change, and its size, which is a single word.
unsafe impl Sync for BlockDeviceRef {}

impl BlockDeviceRef {
    /// Takes a reference.
    ///
    /// # Safety
    ///
    /// `block_device` must be valid.
    pub(crate) unsafe fn get(block_device: NonNull<bindings::block_device>) -> Self {
        // SAFETY: `block_device` is valid by the safety requirements. Its disk holds a reference to
        // the inode, as `ihold()` requires.
        unsafe { bindings::ihold(inode(block_device)) };
        // INVARIANT: `ihold()` has taken a reference. `bdev_free_inode()` frees the block device
        // with the inode.
        Self(block_device)
    }

    /// The current place of the block device in its disk, or [`None`] if the block device has no
    /// sectors: the removal of a disk sets its size to 0.
    pub(crate) fn window(&self) -> Option<Window<space::Device, space::Volume>> {
        // SAFETY: `self.0` points to a valid block device by the type invariants.
        unsafe { window_of(self.0.as_ptr()) }
    }
}

impl Drop for BlockDeviceRef {
    fn drop(&mut self) {
        // SAFETY: `self` owns a reference to the inode by the type invariants. The block device is
        // not used afterwards.
        unsafe { bindings::iput(inode(self.0)) };
    }
}

/// The inode of a block device.
///
/// # Safety
///
/// `block_device` must be valid.
unsafe fn inode(block_device: NonNull<bindings::block_device>) -> *mut bindings::inode {
    // SAFETY: `block_device` is valid by the safety requirements. `bdev_alloc()` has set
    // `bd_mapping` to the mapping of the inode, whose `host` is the inode.
    unsafe { (*(*block_device.as_ptr()).bd_mapping).host }
}

/// The current place of a block device in its disk, or [`None`] if it has no sectors.
///
/// # Safety
///
/// `block_device` must be valid.
pub(crate) unsafe fn window_of(
    block_device: *mut bindings::block_device,
) -> Option<Window<space::Device, space::Volume>> {
    // SAFETY: `block_device` is valid by the safety requirements. Its start does not change.
    // `bdev_set_nr_sectors()` can write the size at any time, as a single word, so the read is
    // volatile.
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

/// A reference to a disk of any driver. It does not prevent the removal of the disk.
///
/// # Invariants
///
/// `self.0` is the block device of a whole disk. It keeps the disk in memory, because
/// `bdev_free_inode()` frees the disk with that block device.
pub struct DiskRef(BlockDeviceRef);

impl DiskRef {
    /// Takes a reference.
    ///
    /// # Safety
    ///
    /// `disk` must be valid.
    pub(super) unsafe fn get(disk: NonNull<bindings::gendisk>) -> Self {
        // INVARIANT: `part0` is the block device of the whole disk.
        // SAFETY: `disk` is valid by the safety requirements. A disk has a `part0` until it is
        // freed.
        Self(unsafe { BlockDeviceRef::get(NonNull::new_unchecked((*disk.as_ptr()).part0)) })
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::gendisk {
        // SAFETY: `self.0` points to a valid block device by the type invariants of
        // `BlockDeviceRef`. Its `bd_disk` does not change.
        unsafe { (*self.0 .0.as_ptr()).bd_disk }
    }

    /// The kernel's name of the disk, such as `pmem0`.
    pub fn name(&self) -> &CStr {
        // SAFETY: The disk is in memory by the type invariants. Its driver sets the name before it
        // adds the disk, and the name does not change afterwards. It is a C string that ends within
        // the field.
        unsafe { CStr::from_char_ptr((*self.as_raw()).disk_name.as_ptr()) }
    }

    /// Sends a `change` uevent of the disk with `property`, such as `NAME=value`.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    /// - `EINVAL` if the disk was removed.
    ///
    /// C: `kobject_uevent_env()`
    pub fn notify_change(&self, property: &CStr) -> Result {
        let mut properties = [property.as_char_ptr().cast_mut(), ptr::null_mut()];
        let disk = self.as_raw();

        // SAFETY: The disk is in memory by the type invariants, so its mutex is valid.
        // `del_gendisk()` takes this mutex to make the disk not live, before it deletes the device.
        // So the device of a live disk is added, and has a name, until the unlock. Before the disk
        // is added, it is not live. `kobject_uevent_env()` changes neither the array nor the text.
        unsafe {
            bindings::mutex_lock(&raw mut (*disk).open_mutex);

            let result = match bindings::disk_live(disk) {
                true => to_result(bindings::kobject_uevent_env(
                    &raw mut (*(*disk).part0).bd_device.kobj,
                    bindings::kobject_action_KOBJ_CHANGE,
                    properties.as_mut_ptr(),
                )),
                false => Err(EINVAL),
            };

            bindings::mutex_unlock(&raw mut (*disk).open_mutex);
            result
        }
    }

    /// The place of the whole disk in its DAX device, which is at the start, or [`None`] if the
    /// disk was removed.
    pub fn window(&self) -> Option<Window<space::Device, space::Volume>> {
        self.0.window()
    }
}
