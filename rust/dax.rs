// SPDX-License-Identifier: GPL-2.0

//! DAX devices: memory that can be mapped and read like a block device's blocks.
//!
//! A driver publishes its memory as a [`Device`], see [`device`]. One consumer at a time, a
//! filesystem or a stacked device, is the device's [`Holder`], see [`holder`], and is told of
//! memory failures.
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
