// SPDX-License-Identifier: GPL-2.0

//! Byte ranges and frame ranges, and the arithmetic between them.
//!
//! Every memory failure travels as a [`ByteRange`]: first as physical addresses, then as offsets
//! into a device, a mapped device or a filesystem. Each step is a pure, total function of this
//! file: it returns [`None`] where there is nothing to return, and it never overflows.
//!
//! This file uses `core` only, so that it is also built and tested on the host
//! (`tools/range-tests`).

/// Binary logarithm of the size of a page frame in bytes.
pub const PAGE_SHIFT: u32 = 12;

/// Size of a page frame in bytes.
pub const PAGE_SIZE: u64 = 1 << PAGE_SHIFT;

/// Binary logarithm of the size of a sector in bytes.
pub const SECTOR_SHIFT: u32 = 9;

/// `Ord::min()` is not const.
const fn min(a: u64, b: u64) -> u64 {
    if a < b {
        a
    } else {
        b
    }
}

/// `Ord::max()` is not const.
const fn max(a: u64, b: u64) -> u64 {
    if a > b {
        a
    } else {
        b
    }
}

/// A range of bytes that is not empty.
///
/// The range is half-open: it holds the bytes from [`start`](Self::start) up to but not including
/// [`end`](Self::end). What the bytes are counted from (physical memory, a device, a file) is the
/// holder's knowledge.
///
/// # Invariants
///
/// - `len` is not 0.
/// - `start + len` does not exceed [`u64::MAX`].
///
/// # Examples
///
/// ```
/// use daxmf::range::ByteRange;
///
/// let failed = ByteRange::new(0x3000, 0x1000).ok_or(EINVAL)?;
/// assert_eq!(failed.end(), 0x4000);
///
/// // The kernel names a whole device as `(0, U64_MAX)`.
/// assert_eq!(ByteRange::new(0, u64::MAX), Some(ByteRange::ALL));
///
/// // Neither an empty range nor one that wraps around is a range.
/// assert_eq!(ByteRange::new(0x3000, 0), None);
/// assert_eq!(ByteRange::new(u64::MAX, 1), None);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    start: u64,
    len: u64,
}

impl ByteRange {
    /// The whole of a device, as `kill_dax()` names it: offset 0, length [`u64::MAX`].
    // INVARIANT: The length is not 0 and `0 + u64::MAX` does not exceed `u64::MAX`.
    pub const ALL: Self = Self {
        start: 0,
        len: u64::MAX,
    };

    /// Creates a range of `len` bytes from `start` on.
    ///
    /// Returns [`None`] if `len` is 0 or if the end would lie beyond [`u64::MAX`].
    #[inline]
    pub const fn new(start: u64, len: u64) -> Option<Self> {
        // INVARIANT: Both conditions are checked here.
        match (len, start.checked_add(len)) {
            (0, _) | (_, None) => None,
            _ => Some(Self { start, len }),
        }
    }

    /// Creates the range of the bytes `start..end`.
    ///
    /// Returns [`None`] if it would be empty, that is if `end` does not lie behind `start`.
    #[inline]
    pub const fn between(start: u64, end: u64) -> Option<Self> {
        match end.checked_sub(start) {
            None => None,
            Some(len) => Self::new(start, len),
        }
    }

    /// The first byte of the range.
    #[inline]
    pub const fn start(self) -> u64 {
        self.start
    }

    /// The number of bytes, never 0.
    #[inline]
    #[allow(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub const fn len(self) -> u64 {
        self.len
    }

    /// The first byte behind the range.
    #[inline]
    pub const fn end(self) -> u64 {
        // By the type invariants this does not saturate; it is written so to be total.
        self.start.saturating_add(self.len)
    }

    /// Whether every byte of `other` is a byte of this range.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.start <= other.start && other.end() <= self.end()
    }

    /// Whether start and length are multiples of `align` bytes.
    #[inline]
    pub const fn is_aligned(self, align: u64) -> bool {
        matches!(
            (self.start.checked_rem(align), self.len.checked_rem(align)),
            (Some(0), Some(0))
        )
    }

    /// The bytes that this range and `bounds` have in common.
    ///
    /// Returns [`None`] if there are none.
    ///
    /// # Examples
    ///
    /// ```
    /// use daxmf::range::ByteRange;
    ///
    /// let device = ByteRange::new(0, 0x10_0000).ok_or(EINVAL)?;
    /// assert_eq!(ByteRange::ALL.clip(device), Some(device));
    ///
    /// let beyond = ByteRange::new(0x10_0000, 0x1000).ok_or(EINVAL)?;
    /// assert_eq!(beyond.clip(device), None);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub const fn clip(self, bounds: Self) -> Option<Self> {
        Self::between(max(self.start, bounds.start), min(self.end(), bounds.end()))
    }

    /// The part of this range that lies in `window`, counted from the window's start.
    ///
    /// This takes a range one step down the chain: from physical addresses to a device, or from a
    /// device to a partition of it. Returns [`None`] if no byte lies in the window.
    ///
    /// # Examples
    ///
    /// ```
    /// use daxmf::range::ByteRange;
    ///
    /// let partition = ByteRange::new(0x10_0000, 0x10_0000).ok_or(EINVAL)?;
    /// let failed = ByteRange::new(0xf_f000, 0x2000).ok_or(EINVAL)?;
    ///
    /// // Only the second page lies in the partition, as its first page.
    /// assert_eq!(failed.relative_to(partition), ByteRange::new(0, 0x1000));
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub const fn relative_to(self, window: Self) -> Option<Self> {
        match self.clip(window) {
            None => None,
            Some(common) => match common.start.checked_sub(window.start) {
                None => None,
                Some(start) => Self::new(start, common.len),
            },
        }
    }

    /// This range moved up by `base` bytes, the reverse of [`relative_to`](Self::relative_to).
    ///
    /// Returns [`None`] if the end would lie beyond [`u64::MAX`].
    #[inline]
    pub const fn offset_by(self, base: u64) -> Option<Self> {
        match self.start.checked_add(base) {
            None => None,
            Some(start) => Self::new(start, self.len),
        }
    }

    /// This range, counted from the start of `window`, as bytes of what the window lies in: the
    /// reverse of [`relative_to`](Self::relative_to).
    ///
    /// Returns [`None`] unless all of its bytes lie in the window.
    ///
    /// # Examples
    ///
    /// ```
    /// use daxmf::range::ByteRange;
    ///
    /// let partition = ByteRange::new(0x10_0000, 0x2000).ok_or(EINVAL)?;
    /// let page = ByteRange::new(0x1000, 0x1000).ok_or(EINVAL)?;
    /// let two_pages = ByteRange::new(0x1000, 0x2000).ok_or(EINVAL)?;
    ///
    /// assert_eq!(page.located_in(partition), ByteRange::new(0x10_1000, 0x1000));
    /// assert_eq!(two_pages.located_in(partition), None);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub const fn located_in(self, window: Self) -> Option<Self> {
        match self.offset_by(window.start) {
            Some(range) if window.contains(range) => Some(range),
            _ => None,
        }
    }

    /// The page frames that this range touches.
    #[inline]
    pub const fn frames(self) -> FrameRange {
        let first = self.start >> PAGE_SHIFT;
        // The last byte exists, because the range is not empty.
        let last = self.end().saturating_sub(1) >> PAGE_SHIFT;

        // INVARIANT: `last` is not less than `first`, and as the number of a frame that a 64-bit
        // address lies in, it is less than `MAX_END`. So nothing saturates here.
        FrameRange {
            first,
            count: last.saturating_sub(first).saturating_add(1),
        }
    }

    /// The sectors that this range touches, as first sector and number of sectors.
    #[inline]
    pub const fn sectors(self) -> (u64, u64) {
        let first = self.start >> SECTOR_SHIFT;
        let last = self.end().saturating_sub(1) >> SECTOR_SHIFT;

        (first, last.saturating_sub(first).saturating_add(1))
    }
}

/// A range of page frames that is not empty.
///
/// # Invariants
///
/// - `count` is not 0.
/// - `first + count` does not exceed the number of frames of a 64-bit address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRange {
    first: u64,
    count: u64,
}

impl FrameRange {
    /// The number of frames of a 64-bit address space.
    const MAX_END: u64 = 1 << (u64::BITS - PAGE_SHIFT);

    /// Creates a range of `count` frames from frame number `first` on.
    ///
    /// Returns [`None`] if `count` is 0 or if a frame would lie outside the 64-bit address space.
    #[inline]
    pub const fn new(first: u64, count: u64) -> Option<Self> {
        // INVARIANT: All conditions are checked here.
        match first.checked_add(count) {
            Some(end) if count != 0 && end <= Self::MAX_END => Some(Self { first, count }),
            _ => None,
        }
    }

    /// The number of the first frame.
    #[inline]
    pub const fn first(self) -> u64 {
        self.first
    }

    /// The number of frames, never 0.
    #[inline]
    pub const fn count(self) -> u64 {
        self.count
    }

    /// The number of the first frame behind the range.
    #[inline]
    pub const fn end(self) -> u64 {
        self.first.saturating_add(self.count)
    }

    /// The frames that this range and `bounds` have in common.
    ///
    /// Returns [`None`] if there are none.
    #[inline]
    pub const fn clip(self, bounds: Self) -> Option<Self> {
        let first = max(self.first, bounds.first);

        match min(self.end(), bounds.end()).checked_sub(first) {
            None => None,
            Some(count) => Self::new(first, count),
        }
    }

    /// The frames of this range that `part` names, which counts from the first of them.
    ///
    /// What lies beyond the end is left out. Returns [`None`] if that is all.
    ///
    /// # Examples
    ///
    /// ```
    /// use daxmf::range::FrameRange;
    ///
    /// let device = FrameRange::new(0x100, 8).ok_or(EINVAL)?;
    /// let pages = FrameRange::new(6, 4).ok_or(EINVAL)?;
    ///
    /// assert_eq!(device.part(pages), FrameRange::new(0x106, 2));
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub const fn part(self, part: Self) -> Option<Self> {
        match self.count.checked_sub(part.first) {
            None | Some(0) => None,
            // INVARIANT: It lies in this range, so nothing saturates.
            Some(rest) => Some(Self {
                first: self.first.saturating_add(part.first),
                count: min(part.count, rest),
            }),
        }
    }

    /// The smallest range that holds this one and `other`.
    #[inline]
    pub const fn hull(self, other: Self) -> Self {
        let first = min(self.first, other.first);

        // INVARIANT: It is not smaller than either, and ends where one of them ends.
        Self {
            first,
            count: max(self.end(), other.end()).saturating_sub(first),
        }
    }

    /// The range without its first `count` frames.
    ///
    /// Returns [`None`] if none is left.
    #[inline]
    pub const fn skip(self, count: u64) -> Option<Self> {
        match (self.first.checked_add(count), self.count.checked_sub(count)) {
            (Some(first), Some(count)) => Self::new(first, count),
            _ => None,
        }
    }

    /// The bytes of all frames.
    ///
    /// Returns [`None`] if the last frame is the one at the very top of the 64-bit address space,
    /// which no device has.
    ///
    /// # Examples
    ///
    /// ```
    /// use daxmf::range::{ByteRange, FrameRange};
    ///
    /// let frames = FrameRange::new(0x100, 2).ok_or(EINVAL)?;
    /// assert_eq!(frames.bytes(), ByteRange::new(0x10_0000, 0x2000));
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub const fn bytes(self) -> Option<ByteRange> {
        match (
            self.first.checked_mul(PAGE_SIZE),
            self.count.checked_mul(PAGE_SIZE),
        ) {
            (Some(start), Some(len)) => ByteRange::new(start, len),
            _ => None,
        }
    }
}
