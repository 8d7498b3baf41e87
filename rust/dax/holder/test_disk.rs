// SPDX-License-Identifier: GPL-2.0

//! A disk with DAX, for tests of holders.

use core::ptr::{
    self,
    NonNull, //
};

use kernel::{
    error::{
        from_err_ptr,
        to_result, //
    },
    prelude::*,
    static_lock_class,
    sync::aref::ARef, //
};

use crate::{
    bindings,
    block::OpenDevice,
    dax::Device,
    memory_failure::{
        Flags,
        Outcome, //
    },
    range::ByteRange,
};

use super::Recipients;

/// Size of a page in bytes.
pub(super) const PAGE: u64 = 0x1000;

/// A disk with DAX that is not added to the system. It can start at an offset, like a partition.
pub(crate) struct TestDisk {
    pub(super) device: ARef<Device>,
    disk: NonNull<bindings::gendisk>,
}

impl TestDisk {
    /// Makes a disk of `pages` pages, from the page `first_page` of its DAX device on.
    pub(crate) fn new(first_page: u64, pages: u64) -> Result<Self> {
        // SAFETY: The table of operations is null.
        let device = from_err_ptr(unsafe { bindings::alloc_dax(ptr::null_mut(), ptr::null()) })?;
        // SAFETY: `alloc_dax()` returned a valid device with a reference.
        let device = unsafe { Device::from_raw(device) }.ok_or(ENOMEM)?;
        let mut limits = bindings::queue_limits {
            features: bindings::BLK_FEAT_DAX,
            ..pin_init::zeroed()
        };

        // SAFETY: `limits` is valid for the duration of the call, the lock class is static.
        let disk = from_err_ptr(unsafe {
            bindings::__blk_alloc_disk(&mut limits, -1, static_lock_class!().as_ptr())
        })?;
        let disk = Self {
            device,
            disk: NonNull::new(disk).ok_or(ENOMEM)?,
        };

        disk.resize(pages);
        // SAFETY: `__blk_alloc_disk()` has allocated `part0`. The disk is not added, so no other
        // code accesses it.
        unsafe { (*(*disk.disk.as_ptr()).part0).bd_start_sect = first_page * 8 };
        // SAFETY: `alloc_dax()` and `__blk_alloc_disk()` returned valid objects. The disk has no
        // other DAX device.
        to_result(unsafe { bindings::dax_add_host(disk.device.as_raw(), disk.disk.as_ptr()) })?;
        Ok(disk)
    }

    /// Sets the size of the disk to `pages` pages.
    pub(crate) fn resize(&self, pages: u64) {
        // SAFETY: `self` owns the valid disk.
        unsafe { bindings::set_capacity(self.disk.as_ptr(), pages * 8) };
    }

    /// The block device of the disk.
    pub(crate) fn open(&self) -> &OpenDevice {
        // SAFETY: `self` owns the valid disk, and puts it only in its drop.
        unsafe { OpenDevice::from_raw((*self.disk.as_ptr()).part0) }
    }

    /// Notifies the holder of a failure of pages of the DAX device.
    pub(super) fn notify_failure(&self, first_page: u64, pages: u64) -> Result<Outcome> {
        let range = ByteRange::new(first_page * PAGE, pages * PAGE).ok_or(EINVAL)?;

        Ok(self.device.notify_failure(range, Flags::SW_SIMULATED))
    }

    /// Notifies the holder of a found error in a page of the DAX device.
    pub(super) fn notify_found(
        &self,
        page: u64,
        recipients: Recipients,
    ) -> Result<Option<Outcome>> {
        let range = ByteRange::new(page * PAGE, PAGE).ok_or(EINVAL)?;

        Ok(self.device.notify_found(range, recipients))
    }
}

impl Drop for TestDisk {
    fn drop(&mut self) {
        // SAFETY: `self` owns the valid disk and device. Neither is used afterwards.
        unsafe {
            bindings::dax_remove_host(self.disk.as_ptr());
            bindings::kill_dax(self.device.as_raw());
            bindings::put_disk(self.disk.as_ptr());
        }
    }
}
