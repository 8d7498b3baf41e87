// SPDX-License-Identifier: GPL-2.0

//! Ranges of bytes and of pages, each of one address space, and the way from one space to another.
//!
//! A memory failure is the same bytes by different numbers: physical addresses, offsets into a DAX
//! device, into a partition of it, into a file. To take one for another is an error that no test
//! sees as long as the offsets happen to be 0. So a range has the type of its [`Space`], and only a
//! [`Window`], which knows how one space lies in another, takes it from here to there.
//!
//! All functions of this file are pure and total: they return [`None`] where there is nothing to
//! return, and never overflow.
//!
//! This file uses `core` only, so that it is also built and tested on the host
//! (`tools/range-tests`).

use core::{
    fmt::Debug,
    marker::PhantomData, //
};

/// Binary logarithm of the size of a page in bytes.
pub const PAGE_SHIFT: u32 = 12;

/// Size of a page in bytes.
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

/// What the bytes of a range are counted in.
///
/// Those that the chain passes through are in [`space`]. A driver or a filesystem may add its own:
/// a type that has no values.
///
/// # Examples
///
/// ```
/// use daxmf::range::{space, ByteRange, Space, Window};
///
/// /// The bytes of a cache, which lies in a device.
/// #[derive(Clone, Copy, Debug, PartialEq, Eq)]
/// enum Cache {}
///
/// impl Space for Cache {}
///
/// let place = ByteRange::<space::Device>::new(0x20_0000, 0x10_0000).ok_or(EINVAL)?;
/// let cache: Window<space::Device, Cache> = Window::at(place);
///
/// let failed = ByteRange::new(0x20_3000, 0x1000).ok_or(EINVAL)?;
/// assert_eq!(cache.inward(failed), ByteRange::new(0x3000, 0x1000));
/// # Ok::<(), Error>(())
/// ```
// The bounds are those of a range that derives the same traits.
pub trait Space: Copy + Debug + Eq {}

/// The spaces that a memory failure passes through, from the outermost to the innermost.
pub mod space {
    use super::Space;

    /// Physical memory. Its pages are page frames.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Physical {}

    /// A DAX device and its disk, from the start of the disk.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Device {}

    /// What a holder sees of a DAX device: its block device, a disk or a partition, from the start
    /// of that.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Volume {}

    /// The contents of a file.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum File {}

    impl Space for Physical {}
    impl Space for Device {}
    impl Space for Volume {}
    impl Space for File {}
}

/// What a range is counted by: [`Bytes`] or [`Pages`].
pub trait Unit: Copy + Debug + Eq {
    /// The greatest end of a range: the number of units that 64-bit addresses have, as far as it
    /// is a 64-bit number itself.
    const MAX_END: u64;
}

/// Counted by bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bytes {}

impl Unit for Bytes {
    const MAX_END: u64 = u64::MAX;
}

/// Counted by pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {}

impl Unit for Pages {
    const MAX_END: u64 = 1 << (u64::BITS - PAGE_SHIFT);
}

/// A range of bytes or pages of one space that is not empty.
///
/// The range is half-open: it holds the units from [`start`](Self::start) up to but not including
/// [`end`](Self::end).
///
/// # Invariants
///
/// - `len` is not 0.
/// - `start + len` does not exceed [`Unit::MAX_END`].
///
/// # Examples
///
/// ```
/// use daxmf::range::{space, ByteRange};
///
/// let failed = ByteRange::<space::Device>::new(0x3000, 0x1000).ok_or(EINVAL)?;
/// assert_eq!(failed.end(), 0x4000);
///
/// // The kernel names a whole device as `(0, U64_MAX)`.
/// assert_eq!(ByteRange::<space::Device>::new(0, u64::MAX), Some(ByteRange::ALL));
///
/// // Neither an empty range nor one that wraps around is a range.
/// assert_eq!(ByteRange::<space::Device>::new(0x3000, 0), None);
/// assert_eq!(ByteRange::<space::Device>::new(u64::MAX, 1), None);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range<S: Space, U: Unit> {
    start: u64,
    len: u64,
    _of: PhantomData<(S, U)>,
}

/// A range of bytes of a space.
pub type ByteRange<S> = Range<S, Bytes>;

/// A range of pages of a space.
pub type PageRange<S> = Range<S, Pages>;

impl<S: Space, U: Unit> Range<S, U> {
    /// Creates a range of `len` units from `start` on.
    ///
    /// Returns [`None`] if `len` is 0 or if the end would lie beyond [`Unit::MAX_END`].
    #[inline]
    pub const fn new(start: u64, len: u64) -> Option<Self> {
        match start.checked_add(len) {
            // INVARIANT: Both conditions are checked here.
            Some(end) if len != 0 && end <= U::MAX_END => Some(Self {
                start,
                len,
                _of: PhantomData,
            }),
            _ => None,
        }
    }

    /// Creates the range `start..end`.
    ///
    /// Returns [`None`] if it would be empty, that is if `end` does not lie behind `start`.
    #[inline]
    pub const fn between(start: u64, end: u64) -> Option<Self> {
        match end.checked_sub(start) {
            None => None,
            Some(len) => Self::new(start, len),
        }
    }

    /// The first byte or page of the range.
    #[inline]
    pub const fn start(self) -> u64 {
        self.start
    }

    /// The number of bytes or pages, never 0.
    #[inline]
    #[allow(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub const fn len(self) -> u64 {
        self.len
    }

    /// The first byte or page behind the range.
    #[inline]
    pub const fn end(self) -> u64 {
        // By the type invariants this does not wrap around; it is written so to be total.
        self.start.wrapping_add(self.len)
    }

    /// Whether all of `other` lies in this range.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.start <= other.start && other.end() <= self.end()
    }

    /// What this range and `bounds` have in common.
    ///
    /// Returns [`None`] if that is nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use daxmf::range::{space, ByteRange};
    ///
    /// let device = ByteRange::<space::Device>::new(0, 0x10_0000).ok_or(EINVAL)?;
    /// assert_eq!(ByteRange::ALL.clip(device), Some(device));
    ///
    /// let beyond = ByteRange::new(0x10_0000, 0x1000).ok_or(EINVAL)?;
    /// assert_eq!(beyond.clip(device), None);
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub const fn clip(self, bounds: Self) -> Option<Self> {
        let start = max(self.start, bounds.start);

        match min(self.end(), bounds.end()).checked_sub(start) {
            None | Some(0) => None,
            // INVARIANT: It is not empty, and ends where one of the two ends.
            Some(len) => Some(Self {
                start,
                len,
                _of: PhantomData,
            }),
        }
    }

    /// The smallest range that holds this one and `other`.
    #[inline]
    pub const fn hull(self, other: Self) -> Self {
        let start = min(self.start, other.start);

        // INVARIANT: It is not smaller than either, and ends where one of them ends.
        Self {
            start,
            len: max(self.end(), other.end()).saturating_sub(start),
            _of: PhantomData,
        }
    }

    /// The range without its first `len` bytes or pages.
    ///
    /// Returns [`None`] if nothing is left.
    #[inline]
    pub const fn skip(self, len: u64) -> Option<Self> {
        match self.start.checked_add(len) {
            None => None,
            Some(start) => Self::between(start, self.end()),
        }
    }
}

impl<S: Space, U: Unit> Range<S, U> {
    /// This range, which lies in one side of a [`Window`], as a range of the other side. `here` is
    /// the start of the one, and `there` that of the other.
    #[inline]
    const fn counted_from<T: Space>(self, here: u64, there: u64) -> Range<T, U> {
        // INVARIANT: It lies in the other side as it does in this one, so nothing wraps around.
        Range {
            start: self.start.wrapping_sub(here).wrapping_add(there),
            len: self.len,
            _of: PhantomData,
        }
    }
}

impl<S: Space> ByteRange<S> {
    /// The whole of a space, as `kill_dax()` names a device: offset 0, length [`u64::MAX`].
    // INVARIANT: The length is not 0 and `0 + u64::MAX` does not exceed `u64::MAX`.
    pub const ALL: Self = Self {
        start: 0,
        len: u64::MAX,
        _of: PhantomData,
    };

    /// Whether start and length are multiples of `align` bytes.
    #[inline]
    pub const fn is_aligned(self, align: u64) -> bool {
        matches!(
            (self.start.checked_rem(align), self.len.checked_rem(align)),
            (Some(0), Some(0))
        )
    }

    /// The pages that this range touches.
    #[inline]
    pub const fn pages(self) -> PageRange<S> {
        let first = self.start >> PAGE_SHIFT;
        // The last byte exists, because the range is not empty.
        let last = self.end().saturating_sub(1) >> PAGE_SHIFT;

        // INVARIANT: `last` is not less than `first`, and as the number of a page that a 64-bit
        // address lies in, it is less than `Pages::MAX_END`. So nothing saturates here.
        Range {
            start: first,
            len: last.saturating_sub(first).saturating_add(1),
            _of: PhantomData,
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

impl<S: Space> PageRange<S> {
    /// The bytes of all pages.
    ///
    /// Returns [`None`] if the last page is the one at the very top of the 64-bit address space,
    /// which no device has.
    ///
    /// # Examples
    ///
    /// ```
    /// use daxmf::range::{space, ByteRange, PageRange};
    ///
    /// let frames = PageRange::<space::Physical>::new(0x100, 2).ok_or(EINVAL)?;
    /// assert_eq!(frames.bytes(), ByteRange::new(0x10_0000, 0x2000));
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub const fn bytes(self) -> Option<ByteRange<S>> {
        match (
            self.start.checked_mul(PAGE_SIZE),
            self.len.checked_mul(PAGE_SIZE),
        ) {
            (Some(start), Some(len)) => Range::new(start, len),
            _ => None,
        }
    }
}

/// How a range of the space `Outer` lies in the space `Inner`: the only way between spaces.
///
/// A namespace is a window of physical memory, and a partition one of a disk; both are seen from
/// their start. An extent of a mapped device or of a file is seen from an offset of its own.
///
/// # Invariants
///
/// `inner_start` plus the length of `outer` does not exceed [`Unit::MAX_END`].
///
/// # Examples
///
/// ```
/// use daxmf::range::{space, ByteRange, Window};
///
/// let place = ByteRange::new(0x10_0000, 0x10_0000).ok_or(EINVAL)?;
/// let partition: Window<space::Device, space::Volume> = Window::at(place);
///
/// // Of this failure only the second page lies in the partition, as its first page.
/// let failed = ByteRange::new(0xf_f000, 0x2000).ok_or(EINVAL)?;
/// assert_eq!(partition.inward(failed), ByteRange::new(0, 0x1000));
///
/// // What is to be accessed lies in the partition, or is an error.
/// let page = ByteRange::new(0xf_f000, 0x1000).ok_or(EINVAL)?;
/// let two_pages = ByteRange::new(0xf_f000, 0x2000).ok_or(EINVAL)?;
/// assert_eq!(partition.outward(page), ByteRange::new(0x1f_f000, 0x1000));
/// assert_eq!(partition.outward(two_pages), None);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window<Outer: Space, Inner: Space, U: Unit = Bytes> {
    outer: Range<Outer, U>,
    inner_start: u64,
    _inner: PhantomData<Inner>,
}

impl<Outer: Space, Inner: Space, U: Unit> Window<Outer, Inner, U> {
    /// The window at `outer`, whose start is the start of the inner space.
    #[inline]
    pub const fn at(outer: Range<Outer, U>) -> Self {
        // INVARIANT: The length of a range does not exceed the greatest end.
        Self {
            outer,
            inner_start: 0,
            _inner: PhantomData,
        }
    }

    /// The window that is `outer` from outside and `inner` from inside.
    ///
    /// Returns [`None`] unless the two are of the same length.
    ///
    /// # Examples
    ///
    /// ```
    /// use daxmf::range::{space, PageRange, Window};
    ///
    /// // A segment of a mapped device.
    /// let frames = PageRange::<space::Physical>::new(0x500, 16).ok_or(EINVAL)?;
    /// let pages = PageRange::<space::Device>::new(0x20, 16).ok_or(EINVAL)?;
    /// let segment = Window::new(frames, pages).ok_or(EINVAL)?;
    ///
    /// let frame = PageRange::new(0x503, 1).ok_or(EINVAL)?;
    /// assert_eq!(segment.inward(frame), PageRange::new(0x23, 1));
    /// # Ok::<(), Error>(())
    /// ```
    #[inline]
    pub const fn new(outer: Range<Outer, U>, inner: Range<Inner, U>) -> Option<Self> {
        if outer.len != inner.len {
            return None;
        }

        // INVARIANT: It is the end of a range.
        Some(Self {
            outer,
            inner_start: inner.start,
            _inner: PhantomData,
        })
    }

    /// The range as it is seen from outside.
    #[inline]
    pub const fn outer(self) -> Range<Outer, U> {
        self.outer
    }

    /// The range as it is seen from inside.
    #[inline]
    pub const fn inner(self) -> Range<Inner, U> {
        // INVARIANT: By ours, and as that of `outer` the length is not 0.
        Range {
            start: self.inner_start,
            len: self.outer.len,
            _of: PhantomData,
        }
    }

    /// What of `range` lies in the window, as it is seen from inside.
    ///
    /// A failure goes this way. Returns [`None`] if nothing of it lies in the window.
    #[inline]
    pub const fn inward(self, range: Range<Outer, U>) -> Option<Range<Inner, U>> {
        match range.clip(self.outer) {
            None => None,
            Some(common) => Some(common.counted_from(self.outer.start, self.inner_start)),
        }
    }

    /// `range` as it is seen from outside.
    ///
    /// An access goes this way. Returns [`None`] unless all of it lies in the window.
    #[inline]
    pub const fn outward(self, range: Range<Inner, U>) -> Option<Range<Outer, U>> {
        match self.inner().contains(range) {
            false => None,
            true => Some(range.counted_from(self.inner_start, self.outer.start)),
        }
    }

    /// What of `range` lies in the window, as it is seen from outside.
    ///
    /// Returns [`None`] if nothing of it does.
    #[inline]
    pub const fn clip_outward(self, range: Range<Inner, U>) -> Option<Range<Outer, U>> {
        match range.clip(self.inner()) {
            None => None,
            Some(common) => Some(common.counted_from(self.inner_start, self.outer.start)),
        }
    }
}
