// SPDX-License-Identifier: GPL-2.0

//! DAX devices: memory of a disk that the kernel accesses directly, without block I/O.
//!
//! A driver publishes its memory as a [`Device`], see [`device`]. One consumer at a time, a
//! filesystem or a stacked device, is the device's [`Holder`], see [`holder`]. The kernel notifies
//! the holder of memory failures.
//!
//! Unsupported: character devices (device-dax), `fs_dax_get()` for fsdev devices.
//!
//! C header: [`include/linux/dax.h`](srctree/include/linux/dax.h)
//!
//! Reference: [`drivers/dax/super.c`](srctree/drivers/dax/super.c)

pub mod device;
pub mod holder;
mod memory;

pub(crate) use self::memory::Memory;

pub use self::{
    device::{
        Device,
        Operations,
        ReadLock, //
    },
    holder::Holder, //
};
