// SPDX-License-Identifier: GPL-2.0

//! Block devices that take bios as they come, without a request queue.
//!
//! A driver allocates a [`Disk`], prepares what belongs to it, and makes it visible with a
//! [`Registration`]; its [`Operations`] get each [`Bio`]. A consumer opens a disk as
//! [`DeviceFile`].
//!
//! Unsupported: zones, discard, polled I/O, ioctls, HIGHMEM.
//!
//! C headers: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h),
//! [`include/linux/bio.h`](srctree/include/linux/bio.h)

pub mod attribute;
pub mod bio;
pub mod disk;
pub mod file;

pub(crate) use self::file::{
    window_of,
    BlockDeviceRef, //
};
pub use self::{
    attribute::Attribute,
    bio::Bio,
    disk::{
        Disk,
        Features,
        Operations,
        Registration, //
    },
    file::{
        DeviceFile,
        DiskRef,
        OpenDevice, //
    },
};
