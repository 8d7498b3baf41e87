// SPDX-License-Identifier: GPL-2.0

//! The bad parts of a device.
//!
//! C header: [`include/linux/badblocks.h`](srctree/include/linux/badblocks.h)

use kernel::{
    error::to_result,
    prelude::*,
    sync::SetOnce,
    types::Opaque, //
};

use crate::{
    bindings,
    block::disk::SysfsFile,
    range::{
        ByteRange,
        SECTOR_SHIFT, //
    },
};

/// A list of the ranges of a device that are known to be bad.
///
/// Ranges are in bytes; they are kept in whole sectors, rounded outwards. The list has room for
/// some 500 ranges that do not touch. Once it is that of a disk, whoever polls the disk's
/// `badblocks` in sysfs is woken up by each change.
///
/// # Examples
///
/// ```
/// use daxmf::{badblocks::Badblocks, range::ByteRange};
///
/// let bad = KBox::pin_init(Badblocks::new(), GFP_KERNEL)?;
/// let page = ByteRange::new(0x3000, 0x1000).ok_or(EINVAL)?;
/// let behind = ByteRange::new(0x4000, 0x1000).ok_or(EINVAL)?;
///
/// assert!(bad.set(page).is_ok());
/// assert_eq!(bad.first_in(ByteRange::ALL), Some(page));
/// assert_eq!(bad.first_in(behind), None);
///
/// bad.clear(page);
/// assert_eq!(bad.first_in(ByteRange::ALL), None);
/// # Ok::<(), Error>(())
/// ```
///
/// # Invariants
///
/// `badblocks_init()` has initialized the list.
#[pin_data(PinnedDrop)]
pub struct Badblocks {
    #[pin]
    list: Opaque<bindings::badblocks>,
    file: SetOnce<SysfsFile>,
}

// SAFETY: The list may be freed on any thread.
unsafe impl Send for Badblocks {}

// SAFETY: The list has a lock of its own, which every C function takes.
unsafe impl Sync for Badblocks {}

impl Badblocks {
    /// Creates an empty list.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // INVARIANT: `badblocks_init()` initializes the list, or fails.
            list <- Opaque::try_ffi_init(|list| {
                // SAFETY: `list` is valid for writes.
                to_result(unsafe { bindings::badblocks_init(list, 1) })
            }),
            file: SetOnce::new(),
        })
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::badblocks {
        self.list.get()
    }

    /// Makes `file` the one whose pollers are woken up. A list has at most one.
    pub(crate) fn show_in(&self, file: SysfsFile) {
        self.file.populate(file);
    }

    /// Wakes up those who poll the list.
    pub(crate) fn notify(&self) {
        if let Some(file) = self.file.as_ref() {
            file.notify();
        }
    }

    /// Whether nothing is bad, at this moment. This takes no lock.
    #[inline]
    pub fn is_empty(&self) -> bool {
        // SAFETY: The list is valid. The count may change under us, which is why it is read as it
        // stands, and once.
        unsafe { (&raw const (*self.as_raw()).count).read_volatile() == 0 }
    }

    /// The first bad range that touches `range`, as far as it lies in it.
    #[inline]
    pub fn first_in(&self, range: ByteRange) -> Option<ByteRange> {
        if self.is_empty() {
            return None;
        }

        self.lookup(range)
    }

    fn lookup(&self, range: ByteRange) -> Option<ByteRange> {
        let (sector, count) = range.sectors();
        let (mut first, mut bad) = (0, 0);

        // SAFETY: The list is valid by the type invariants.
        let found = unsafe {
            bindings::badblocks_check(self.as_raw(), sector, count, &mut first, &mut bad)
        };

        if found == 0 {
            return None;
        }

        ByteRange::new(
            first.checked_shl(SECTOR_SHIFT)?,
            bad.checked_shl(SECTOR_SHIFT)?,
        )?
        .clip(range)
    }

    /// Enters `range` as bad.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if the list is full.
    pub fn set(&self, range: ByteRange) -> Result {
        let (sector, count) = range.sectors();

        // SAFETY: The list is valid by the type invariants.
        let is_set = unsafe { bindings::badblocks_set(self.as_raw(), sector, count, 1) };

        self.notify();
        is_set.then_some(()).ok_or(ENOSPC)
    }

    /// Removes `range` from what is bad.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if the range divides a bad one and the list is full. It stays bad then.
    pub fn clear(&self, range: ByteRange) -> Result {
        let (sector, count) = range.sectors();

        // SAFETY: The list is valid by the type invariants.
        let is_clear = unsafe { bindings::badblocks_clear(self.as_raw(), sector, count) };

        self.notify();
        is_clear.then_some(()).ok_or(ENOSPC)
    }
}

#[pinned_drop]
impl PinnedDrop for Badblocks {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: The list is valid by the type invariants, and not used afterwards.
        unsafe { bindings::badblocks_exit(self.as_raw()) };
    }
}
