// SPDX-License-Identifier: GPL-2.0

//! The bad ranges of a device.
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

/// The maximum length in bytes of a range for the C functions: 2^30 sectors. These functions count
/// the sectors of a range in an `int`, and loop for ever if the `int` overflows. 2^30 leaves room
/// for the sectors that rounding adds.
const MAX_LEN: u64 = 1 << 39;

/// The capacity of a list: the number of 8-byte entries in a page.
const CAPACITY: usize = PAGE_SIZE as usize / size_of::<u64>();

/// A list of the known bad ranges of a device, or of another space.
///
/// Ranges are in bytes. The list stores whole sectors, and rounds outwards. The list has 512
/// entries of at most 512 sectors. A longer bad range takes several entries. Each change of a
/// disk's list wakes up the processes that poll the disk's `badblocks` file in sysfs.
///
/// # Examples
///
/// ```
/// use daxmf::{badblocks::Badblocks, range::{space, ByteRange}};
///
/// let bad = KBox::pin_init(Badblocks::new(), GFP_KERNEL)?;
/// let page = ByteRange::<space::Device>::new(0x3000, 0x1000).ok_or(EINVAL)?;
/// let next = ByteRange::new(0x4000, 0x1000).ok_or(EINVAL)?;
///
/// assert!(bad.mark(page).is_ok());
/// let device = ByteRange::new(0, 0x10_0000).ok_or(EINVAL)?;
///
/// assert_eq!(bad.first_in(device), Some(page));
/// assert_eq!(bad.first_in(next), None);
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

// SAFETY: `badblocks_exit()` may be called on any thread.
unsafe impl<S: Space> Send for Badblocks<S> {}

// SAFETY: The C functions read and write the list under the seqlock of `struct badblocks`.
// `is_empty()` and `is_full()` read the count as a single word.
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
                // SAFETY: `Opaque::try_ffi_init()` passes a pointer that is valid for writes.
                to_result(unsafe { bindings::badblocks_init(list, 1) })
            }),
            file: SetOnce::new(),
            _space: PhantomData,
        })
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::badblocks {
        self.list.get()
    }

    /// Sets the sysfs file of the list. Each change of the list wakes up the processes that poll
    /// the file. Only the first call has an effect.
    pub(crate) fn show_in(&self, file: SysfsFile) {
        self.file.populate(file);
    }

    /// Wakes up the processes that poll the list's file, if it has one.
    pub(crate) fn notify(&self) {
        if let Some(file) = self.file.as_ref() {
            file.notify();
        }
    }

    /// Whether the list is empty, at this moment. Takes no lock.
    #[inline]
    pub fn is_empty(&self) -> bool {
        // SAFETY: `badblocks_init()` has initialized the list by the type invariants. Other threads
        // may change the count, so this is a volatile read.
        unsafe { (&raw const (*self.as_raw()).count).read_volatile() == 0 }
    }

    /// Whether the list is full, at this moment. [`mark()`](Self::mark) then fails, also for a
    /// range that is adjacent to a listed one or overlaps it.
    pub fn is_full(&self) -> bool {
        // SAFETY: `badblocks_init()` has initialized the list by the type invariants. Other threads
        // may change the count, so this is a volatile read.
        let count = unsafe { (&raw const (*self.as_raw()).count).read_volatile() };

        usize::try_from(count).is_ok_and(|count| count >= CAPACITY)
    }

    /// Returns the part in `range` of the first entry that overlaps `range`, or [`None`] if no part
    /// of `range` is listed. A longer bad range can continue in the next entry.
    #[inline]
    pub fn first_in(&self, range: ByteRange<S>) -> Option<ByteRange<S>> {
        if self.is_empty() {
            return None;
        }

        self.lookup(range)
    }

    /// Does the search of [`first_in()`](Self::first_in). Passes `range` to C in parts of at most
    /// [`MAX_LEN`] bytes.
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

    /// Returns the first entry that overlaps `part`, which must not be longer than [`MAX_LEN`].
    fn lookup_part(&self, part: ByteRange<S>) -> Option<ByteRange<S>> {
        let (sector, count) = part.sectors();
        let (mut first, mut bad) = (0, 0);

        // SAFETY: `badblocks_init()` has initialized the list by the type invariants. `first` and
        // `bad` are valid for writes.
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

    /// Adds `range` to the list.
    ///
    /// C: `badblocks_set()`
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if the list is full, or has no room for all of `range`. A part of `range` may be
    ///   listed then.
    /// - `EINVAL` if the range is longer than 512 GiB.
    pub fn mark(&self, range: ByteRange<S>) -> Result {
        let (sector, count) = checked_sectors(range)?;

        // SAFETY: `badblocks_init()` has initialized the list by the type invariants.
        let is_set = unsafe { bindings::badblocks_set(self.as_raw(), sector, count, 1) };

        self.notify();
        is_set.then_some(()).ok_or(ENOSPC)
    }

    /// Removes each sector that overlaps `range` from the list.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if the range divides a bad range and the list is full. The range stays bad then.
    /// - `EINVAL` if the range is longer than 512 GiB.
    pub fn clear(&self, range: ByteRange<S>) -> Result {
        let (sector, count) = checked_sectors(range)?;

        // SAFETY: `badblocks_init()` has initialized the list by the type invariants.
        let is_clear = unsafe { bindings::badblocks_clear(self.as_raw(), sector, count) };

        self.notify();
        is_clear.then_some(()).ok_or(ENOSPC)
    }
}

/// Returns the first sector and the number of sectors of a range, if the C functions support its
/// length.
///
/// # Errors
///
/// - `EINVAL` if the range is longer than [`MAX_LEN`].
fn checked_sectors<S: Space>(range: ByteRange<S>) -> Result<(u64, u64)> {
    if range.len() > MAX_LEN {
        return Err(EINVAL);
    }

    Ok(range.sectors())
}

#[pinned_drop]
impl<S: Space> PinnedDrop for Badblocks<S> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: `badblocks_init()` has initialized the list by the type invariants. It is not
        // used afterwards.
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
    fn result_is_clipped_to_the_range() -> Result {
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
    fn is_found_far_after_the_start() -> Result {
        let bad = KBox::pin_init(Badblocks::new(), GFP_KERNEL)?;
        let far = range(3 << 40, 0x1000)?;

        bad.mark(far)?;

        assert_eq!(bad.first_in(range(0, 1 << 42)?), Some(far));
        assert_eq!(bad.first_in(range(0, 3 << 40)?), None);
        assert_eq!(bad.mark(range(0, 1 << 42)?), Err(EINVAL));
        Ok(())
    }

    #[test]
    fn full_list_keeps_its_ranges() -> Result {
        let bad = KBox::pin_init(Badblocks::new(), GFP_KERNEL)?;
        let mut added = 0;

        while added < 1000 && bad.mark(range(added * 0x400, 0x200)?).is_ok() {
            added += 1;
        }

        assert!(added > 400 && added < 1000);
        assert!(bad.is_full());
        // The last range that the list accepted is in it.
        assert_eq!(
            bad.first_in(range((added - 1) * 0x400, 0x400)?).is_some(),
            true
        );
        Ok(())
    }
}
