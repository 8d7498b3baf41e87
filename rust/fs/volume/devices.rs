// SPDX-License-Identifier: GPL-2.0

//! The devices that a volume is.

use core::ptr::NonNull;

use kernel::{
    prelude::*,
    sync::aref::ARef, //
};

use crate::{
    bindings,
    dax::{
        self,
        device::AccessMode,
        Memory,
        ReadLock, //
    },
    range::{
        space,
        ByteRange, //
    },
};

/// The devices of a filesystem that is mounted.
///
/// # Invariants
///
/// `block` is valid, and open until the filesystem is unmounted.
pub(in crate::fs) struct Devices {
    pub(super) dax: ARef<dax::Device>,
    pub(super) block: NonNull<bindings::block_device>,
}

// SAFETY: A block device may be used on any thread.
unsafe impl Send for Devices {}

// SAFETY: A shared `Devices` gives access to nothing of the block device but its address.
unsafe impl Sync for Devices {}

impl Devices {
    /// As much is done in one section of `dax_srcu`: whoever waits for all readers should not wait
    /// long.
    pub(super) const MAX_PIECE: u64 = 2 << 20;

    /// The same where nothing is accessed. Drivers count sectors in 32 bits.
    pub(super) const MAX_CHECK: u64 = 1 << 30;

    /// The DAX device that the volume lies in.
    pub(in crate::fs) fn dax(&self) -> &dax::Device {
        &self.dax
    }

    /// The block device that is the volume.
    pub(in crate::fs) fn block(&self) -> *mut bindings::block_device {
        self.block.as_ptr()
    }

    /// Makes a page present in the kernel's linear map, unless the driver knows that it is bad.
    /// Then it does so itself.
    pub(super) fn make_present(&self, page: ByteRange<space::Device>) {
        let lock = ReadLock::new();

        if self.dax.memory(page, AccessMode::Normal, &lock).is_err() {
            return;
        }
        if let Ok(place) = self.dax.locate(page.pages(), &lock) {
            // SAFETY: The memory of a filesystem has pages and a place in the linear map, which
            // stay as long as `dax_srcu` is held.
            unsafe {
                let frame = place.outer().start() as c_ulong;

                bindings::TestClearPageHWPoison(bindings::pfn_to_page(frame));
                bindings::clear_mce_nospec(frame);
            }
        }
    }

    /// Writes a page over memory that may be bad.
    pub(super) fn recovery_write(&self, range: ByteRange<space::Device>, page: &[u8]) -> Result {
        let lock = ReadLock::new();
        let memory = self.dax.memory(range, AccessMode::RecoveryWrite, &lock)?;

        if memory.recovery_write(page) == page.len() {
            Ok(())
        } else {
            Err(EIO)
        }
    }

    /// Copies a first piece of `from` to `to`. Returns its length.
    pub(super) fn copy_piece(
        &self,
        from: ByteRange<space::Device>,
        to: ByteRange<space::Device>,
    ) -> Result<u64> {
        let lock = ReadLock::new();
        let source = self.memory(from, &lock)?;
        let to = ByteRange::new(to.start(), source.len() as u64).ok_or(ERANGE)?;
        let target = self.memory(to, &lock)?;

        target.fill_from(&source)?;
        target.flush();
        Ok(target.len() as u64)
    }

    /// The memory of a first piece of `range`.
    pub(super) fn memory<'a>(
        &'a self,
        range: ByteRange<space::Device>,
        lock: &'a ReadLock,
    ) -> Result<Memory<'a>> {
        let first =
            ByteRange::new(range.start(), range.len().min(Self::MAX_PIECE)).ok_or(ERANGE)?;

        self.dax.memory(first, AccessMode::Normal, lock)
    }
}
