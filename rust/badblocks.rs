// SPDX-License-Identifier: GPL-2.0

//! The bad parts of a device.
//!
//! C header: [`include/linux/badblocks.h`](srctree/include/linux/badblocks.h)

use core::marker::PhantomData;

use kernel::{
    error::to_result,
    prelude::*,
    sync::SetOnce,
    types::Opaque, //
};

use crate::{
    bindings,
    range::{
        space,
        ByteRange,
        Space,
        PAGE_SIZE,
        SECTOR_SHIFT, //
    },
    sysfs::SysfsFile, //
};

/// The length in bytes that the C functions can deal with at a time: they count the sectors of a
/// range in an `int`, and go round for ever when that is too small.
const MAX_LEN: u64 = 1 << 39;

/// The number of ranges that a list has room for: a page of them.
const CAPACITY: usize = PAGE_SIZE as usize / size_of::<u64>();

/// A list of the ranges of a device, or of another space, that are known to be bad.
///
/// Ranges are in bytes; they are kept in whole sectors, rounded outwards. The list has room for 512
/// ranges that do not touch, each of at most 512 sectors. Once it is that of a disk, whoever polls
/// the disk's `badblocks` in sysfs is woken up by each change.
///
/// # Examples
///
/// ```
/// use daxmf::{badblocks::Badblocks, range::{space, ByteRange}};
///
/// let bad = KBox::pin_init(Badblocks::new(), GFP_KERNEL)?;
/// let page = ByteRange::<space::Device>::new(0x3000, 0x1000).ok_or(EINVAL)?;
/// let behind = ByteRange::new(0x4000, 0x1000).ok_or(EINVAL)?;
///
/// assert!(bad.mark(page).is_ok());
/// let device = ByteRange::new(0, 0x10_0000).ok_or(EINVAL)?;
///
/// assert_eq!(bad.first_in(device), Some(page));
/// assert_eq!(bad.first_in(behind), None);
///
/// bad.clear(page)?;
/// assert_eq!(bad.first_in(device), None);
/// # Ok::<(), Error>(())
/// ```
///
/// # Invariants
///
/// `badblocks_init()` has initialized the list.
#[pin_data(PinnedDrop)]
pub struct Badblocks<S: Space = space::Device> {
    #[pin]
    list: Opaque<bindings::badblocks>,
    file: SetOnce<SysfsFile>,
    _space: PhantomData<S>,
}

// SAFETY: The list may be freed on any thread.
unsafe impl<S: Space> Send for Badblocks<S> {}

// SAFETY: The list has a lock of its own, which every C function takes.
unsafe impl<S: Space> Sync for Badblocks<S> {}

impl<S: Space> Badblocks<S> {
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
            _space: PhantomData,
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

    /// Whether there may be no room for another range, at this moment.
    pub fn is_full(&self) -> bool {
        // SAFETY: As in `is_empty()`.
        let count = unsafe { (&raw const (*self.as_raw()).count).read_volatile() };

        usize::try_from(count).is_ok_and(|count| count >= CAPACITY)
    }

    /// The first bad range that touches `range`, as far as it lies in it.
    #[inline]
    pub fn first_in(&self, range: ByteRange<S>) -> Option<ByteRange<S>> {
        if self.is_empty() {
            return None;
        }

        self.lookup(range)
    }

    fn lookup(&self, range: ByteRange<S>) -> Option<ByteRange<S>> {
        let mut start = range.start();

        loop {
            let end = range.end().min(start.saturating_add(MAX_LEN));
            let part = ByteRange::between(start, end)?;

            if let Some(bad) = self.lookup_part(part) {
                return bad.clip(range);
            }
            start = part.end();
        }
    }

    /// The first bad range that touches `part`, which is not longer than [`MAX_LEN`].
    fn lookup_part(&self, part: ByteRange<S>) -> Option<ByteRange<S>> {
        let (sector, count) = part.sectors();
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
        )
    }

    /// Enters `range` as bad.
    ///
    /// C: `badblocks_set()`
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if the list is full.
    /// - `EINVAL` if the range is longer than 512 GiB.
    pub fn mark(&self, range: ByteRange<S>) -> Result {
        let (sector, count) = checked_sectors(range)?;

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
    /// - `EINVAL` if the range is longer than 512 GiB.
    pub fn clear(&self, range: ByteRange<S>) -> Result {
        let (sector, count) = checked_sectors(range)?;

        // SAFETY: The list is valid by the type invariants.
        let is_clear = unsafe { bindings::badblocks_clear(self.as_raw(), sector, count) };

        self.notify();
        is_clear.then_some(()).ok_or(ENOSPC)
    }
}

/// The sectors of a range that the C functions can deal with.
fn checked_sectors<S: Space>(range: ByteRange<S>) -> Result<(u64, u64)> {
    if range.len() > MAX_LEN {
        return Err(EINVAL);
    }

    Ok(range.sectors())
}

#[pinned_drop]
impl<S: Space> PinnedDrop for Badblocks<S> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: The list is valid by the type invariants, and not used afterwards.
        unsafe { bindings::badblocks_exit(self.as_raw()) };
    }
}

#[kunit_tests(daxmf_badblocks)]
mod tests {
    use super::*;

    fn range(start: u64, len: u64) -> Result<ByteRange<space::Device>> {
        ByteRange::new(start, len).ok_or(EINVAL)
    }

    #[test]
    fn is_clipped_to_what_was_asked() -> Result {
        let bad = KBox::pin_init(Badblocks::new(), GFP_KERNEL)?;

        bad.mark(range(0x2000, 0x2000)?)?;

        assert_eq!(bad.first_in(range(0, 0x2000)?), None);
        assert_eq!(bad.first_in(range(0, 0x2001)?), ByteRange::new(0x2000, 1));
        assert_eq!(
            bad.first_in(range(0x3000, 0x9000)?),
            ByteRange::new(0x3000, 0x1000)
        );
        assert_eq!(bad.first_in(range(0x4000, 0x1000)?), None);
        Ok(())
    }

    #[test]
    fn is_rounded_to_sectors() -> Result {
        let bad = KBox::pin_init(Badblocks::new(), GFP_KERNEL)?;

        bad.mark(range(0x201, 1)?)?;

        assert_eq!(
            bad.first_in(range(0, 0x10_0000)?),
            ByteRange::new(0x200, 0x200)
        );
        Ok(())
    }

    #[test]
    fn clearing_divides_a_range() -> Result {
        let bad = KBox::pin_init(Badblocks::new(), GFP_KERNEL)?;

        bad.mark(range(0, 0x3000)?)?;
        bad.clear(range(0x1000, 0x1000)?)?;

        assert_eq!(
            bad.first_in(range(0, 0x10_0000)?),
            ByteRange::new(0, 0x1000)
        );
        assert_eq!(
            bad.first_in(range(0x1000, 0x9000)?),
            ByteRange::new(0x2000, 0x1000)
        );
        Ok(())
    }

    #[test]
    fn is_found_far_behind_the_start() -> Result {
        let bad = KBox::pin_init(Badblocks::new(), GFP_KERNEL)?;
        let far = range(3 << 40, 0x1000)?;

        bad.mark(far)?;

        assert_eq!(bad.first_in(range(0, 1 << 42)?), Some(far));
        assert_eq!(bad.first_in(range(0, 3 << 40)?), None);
        assert_eq!(bad.mark(range(0, 1 << 42)?), Err(EINVAL));
        Ok(())
    }

    #[test]
    fn is_full_at_last() -> Result {
        let bad = KBox::pin_init(Badblocks::new(), GFP_KERNEL)?;
        let mut entered = 0;

        while entered < 1000 && bad.mark(range(entered * 0x400, 0x200)?).is_ok() {
            entered += 1;
        }

        assert!(entered > 400 && entered < 1000);
        assert!(bad.is_full());
        // What could be entered is there.
        assert_eq!(
            bad.first_in(range((entered - 1) * 0x400, 0x400)?).is_some(),
            true
        );
        Ok(())
    }
}
