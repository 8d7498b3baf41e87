// SPDX-License-Identifier: GPL-2.0

//! The devices of a volume.

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

/// The devices of a mounted filesystem.
///
/// # Invariants
///
/// `block` points to a valid block device, which stays open until the filesystem is unmounted.
pub(in crate::fs) struct Devices {
    pub(super) dax: ARef<dax::Device>,
    pub(super) block: NonNull<bindings::block_device>,
}

// SAFETY: `block` is a pointer to a `struct block_device`, which any thread may use.
unsafe impl Send for Devices {}

// SAFETY: A shared `Devices` gives access to the address of the block device only, and to
// `dax::Device`, which is `Sync`.
unsafe impl Sync for Devices {}

impl Devices {
    /// The most bytes that one section of `dax_srcu` accesses: 2 MiB, so that the removal of a
    /// device does not wait long.
    pub(super) const MAX_PIECE: u64 = 2 << 20;

    /// The most bytes that one section of `dax_srcu` checks without an access: 1 GiB, because
    /// drivers count sectors in 32 bits.
    pub(super) const MAX_CHECK: u64 = 1 << 30;

    /// The DAX device that contains the volume.
    pub(in crate::fs) fn dax(&self) -> &dax::Device {
        &self.dax
    }

    /// The block device of the volume.
    pub(in crate::fs) fn block(&self) -> *mut bindings::block_device {
        self.block.as_ptr()
    }

    /// Makes a page present in the kernel's linear map. If the driver knows that the page is bad,
    /// the driver does this in its recovery write, and this function does nothing.
    pub(super) fn make_present(&self, page: ByteRange<space::Device>) {
        let lock = ReadLock::new();

        if self.dax.memory(page, AccessMode::Normal, &lock).is_err() {
            return;
        }
        if let Ok(place) = self.dax.locate(page.pages(), &lock) {
            // SAFETY: `dax.locate()` has returned the frame, so the frame has a `struct page` and a
            // place in the linear map, which exist while `lock` holds `dax_srcu`.
            unsafe {
                let frame = place.outer().start() as c_ulong;

                bindings::TestClearPageHWPoison(bindings::pfn_to_page(frame));
                bindings::clear_mce_nospec(frame);
            }
        }
    }

    /// Writes a page to memory that can be bad, and clears the error.
    pub(super) fn recovery_write(&self, range: ByteRange<space::Device>, page: &[u8]) -> Result {
        let lock = ReadLock::new();
        let memory = self.dax.memory(range, AccessMode::RecoveryWrite, &lock)?;

        if memory.recovery_write(page) == page.len() {
            Ok(())
        } else {
            Err(EIO)
        }
    }

    /// Copies the first piece of `from` to `to`. Returns its length in bytes.
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

    /// The memory of the first piece of `range`.
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
