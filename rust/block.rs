// SPDX-License-Identifier: GPL-2.0

//! Bio-based block devices: the driver gets bios directly, without a request queue.
//!
//! A driver allocates a [`Disk`] and makes it visible with a [`Registration`]. The block layer
//! passes each [`Bio`] to the disk's [`Operations`]. A consumer opens a disk or a partition as a
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
