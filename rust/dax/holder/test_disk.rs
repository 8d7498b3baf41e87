// SPDX-License-Identifier: GPL-2.0

//! A disk with DAX, for tests of what claims it.

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

/// Bytes of a page.
pub(super) const PAGE: u64 = 0x1000;

/// A disk with DAX, which only the test knows, and which may be as a partition is.
pub(crate) struct TestDisk {
    pub(super) device: ARef<Device>,
    disk: NonNull<bindings::gendisk>,
}

impl TestDisk {
    pub(crate) fn new(first_page: u64, pages: u64) -> Result<Self> {
        // SAFETY: There are no operations.
        let device = from_err_ptr(unsafe { bindings::alloc_dax(ptr::null_mut(), ptr::null()) })?;
        // SAFETY: `alloc_dax()` returned a device with a reference.
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
        // SAFETY: A disk has its first partition, and nobody else knows it.
        unsafe { (*(*disk.disk.as_ptr()).part0).bd_start_sect = first_page * 8 };
        // SAFETY: Both are valid, and the disk has no other device.
        to_result(unsafe { bindings::dax_add_host(disk.device.as_raw(), disk.disk.as_ptr()) })?;
        Ok(disk)
    }

    pub(crate) fn resize(&self, pages: u64) {
        // SAFETY: The disk is valid.
        unsafe { bindings::set_capacity(self.disk.as_ptr(), pages * 8) };
    }

    pub(crate) fn open(&self) -> &OpenDevice {
        // SAFETY: The disk is valid, and nobody can take it from us.
        unsafe { OpenDevice::from_raw((*self.disk.as_ptr()).part0) }
    }

    /// Notifies the holder of a failure of some pages of the DAX device.
    pub(super) fn fail(&self, first_page: u64, pages: u64) -> Result<Outcome> {
        let range = ByteRange::new(first_page * PAGE, pages * PAGE).ok_or(EINVAL)?;

        Ok(self.device.notify_failure(range, Flags::SW_SIMULATED))
    }

    /// Notifies the holder of an error that was found in a page of the DAX device.
    pub(super) fn find(&self, page: u64, recipients: Recipients) -> Result<Option<Outcome>> {
        let range = ByteRange::new(page * PAGE, PAGE).ok_or(EINVAL)?;

        Ok(self.device.notify_found(range, recipients))
    }
}

impl Drop for TestDisk {
    fn drop(&mut self) {
        // SAFETY: Both are valid, and the disk is not used afterwards.
        unsafe {
            bindings::dax_remove_host(self.disk.as_ptr());
            bindings::kill_dax(self.device.as_raw());
            bindings::put_disk(self.disk.as_ptr());
        }
    }
}
