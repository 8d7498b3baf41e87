// SPDX-License-Identifier: GPL-2.0

//! Ranges of bytes and of pages, each in one address space, and translation between the spaces.
//!
//! The chain numbers the same bytes in different ways: by physical address, and by the offset in a
//! DAX device, in a partition of the device, or in a file. A mix-up of two spaces is a bug that no
//! test finds as long as the offset between them is 0. So the [`Space`] of a range is part of its
//! type, and only a [`Window`] translates a range from one space to another.
//!
//! All functions of this file are pure and total: they return [`None`] if there is no result, and
//! never overflow.
//!
//! This file uses `core` only, so that it can also be built and tested on the host
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

/// An address space: the numbering of the bytes and pages of a range.
///
/// The spaces of the chain are in [`space`]. A driver or a filesystem may add its own space: a type
/// without values.
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
// `Range` derives the same traits, which requires them of its type parameters.
pub trait Space: Copy + Debug + Eq {}

/// The spaces of the chain, from the outermost to the innermost.
pub mod space {
    use super::Space;

    /// Physical memory. Its pages are page frames.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Physical {}

    /// A DAX device and its disk, from the start of the disk.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Device {}

    /// The block device of a holder, a disk or a partition, from the start of the block device.
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

/// The unit of a range: [`Bytes`] or [`Pages`].
pub trait Unit: Copy + Debug + Eq {
    /// The greatest end of a range: the number of units in the 64-bit address space, or
    /// [`u64::MAX`] if that number does not fit a [`u64`].
    const MAX_END: u64;
}

/// Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bytes {}

impl Unit for Bytes {
    const MAX_END: u64 = u64::MAX;
}

/// Pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {}

impl Unit for Pages {
    const MAX_END: u64 = 1 << (u64::BITS - PAGE_SHIFT);
}

/// A range of bytes or pages of one space. It is never empty.
///
/// The range is half-open: it contains the units from [`start`](Self::start) up to but not
/// including [`end`](Self::end).
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
/// // The kernel writes a whole device as `(0, U64_MAX)`.
/// assert_eq!(ByteRange::<space::Device>::new(0, u64::MAX), Some(ByteRange::ALL));
///
/// // A range must not be empty, and must not wrap around.
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
    /// Returns [`None`] if it would be empty, that is if `end` is not greater than `start`.
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

    /// The first byte or page after the range.
    #[inline]
    pub const fn end(self) -> u64 {
        // By the type invariants the sum does not wrap around. `wrapping_add()` makes the function
        // total.
        self.start.wrapping_add(self.len)
    }

    /// Whether all of `other` lies in this range.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.start <= other.start && other.end() <= self.end()
    }

    /// The part of this range that lies in `bounds`.
    ///
    /// Returns [`None`] if no part does.
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
            // INVARIANT: `len` is not 0. The end is the smaller one of two ends that do not exceed
            // the greatest end.
            Some(len) => Some(Self {
                start,
                len,
                _of: PhantomData,
            }),
        }
    }

    /// The smallest range that contains this one and `other`.
    #[inline]
    pub const fn hull(self, other: Self) -> Self {
        let start = min(self.start, other.start);

        // INVARIANT: The length is not less than that of either range, so it is not 0. The end is
        // one of two ends that do not exceed the greatest end.
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
    /// Translates this range, which must lie in one side of a [`Window`], to the other side. `from`
    /// is the start of this side, and `to` is the start of the other side.
    #[inline]
    const fn translate<T: Space>(self, from: u64, to: u64) -> Range<T, U> {
        // INVARIANT: The range lies in this side, and both sides have the same length. So the
        // result lies in the other side, and nothing wraps around.
        Range {
            start: self.start.wrapping_sub(from).wrapping_add(to),
            len: self.len,
            _of: PhantomData,
        }
    }
}

impl<S: Space> ByteRange<S> {
    /// A whole space, as `kill_dax()` passes a whole device: offset 0, length [`u64::MAX`].
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

        // INVARIANT: `last` is not less than `first`. It is the number of a page with a 64-bit
        // address, so it is less than `Pages::MAX_END`. So nothing saturates here.
        Range {
            start: first,
            len: last.saturating_sub(first).saturating_add(1),
            _of: PhantomData,
        }
    }

    /// The sectors that this range touches: the first sector, and the number of sectors.
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
    /// Returns [`None`] if the range includes the last page of the 64-bit address space, which no
    /// device has.
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

/// A range that has a position in the space `Outer` and a position in the space `Inner`. Only a
/// window translates ranges between spaces.
///
/// A namespace is a window of physical memory, and a partition is a window of a disk. The inner
/// position of both is 0. An extent of a device-mapper device or of a file has another inner
/// position.
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
/// // Only the second page of this failure lies in the partition. It is the partition's first page.
/// let failed = ByteRange::new(0xf_f000, 0x2000).ok_or(EINVAL)?;
/// assert_eq!(partition.inward(failed), ByteRange::new(0, 0x1000));
///
/// // A range to access must lie in the partition completely.
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
    /// Creates the window at `outer`. Its start is the start of the inner space.
    #[inline]
    pub const fn at(outer: Range<Outer, U>) -> Self {
        // INVARIANT: `inner_start` is 0, and the length of a range does not exceed the greatest
        // end.
        Self {
            outer,
            inner_start: 0,
            _inner: PhantomData,
        }
    }

    /// Creates the window that has the positions `outer` and `inner`.
    ///
    /// Returns [`None`] unless the two have the same length.
    ///
    /// # Examples
    ///
    /// ```
    /// use daxmf::range::{space, PageRange, Window};
    ///
    /// // A segment of a device-mapper device.
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

        // INVARIANT: The sum is the end of `inner`, which does not exceed the greatest end.
        Some(Self {
            outer,
            inner_start: inner.start,
            _inner: PhantomData,
        })
    }

    /// The window as a range of the outer space.
    #[inline]
    pub const fn outer(self) -> Range<Outer, U> {
        self.outer
    }

    /// The window as a range of the inner space.
    #[inline]
    pub const fn inner(self) -> Range<Inner, U> {
        // INVARIANT: The end does not exceed the greatest end by the type invariants of `Window`,
        // and the length of `outer` is not 0.
        Range {
            start: self.inner_start,
            len: self.outer.len,
            _of: PhantomData,
        }
    }

    /// Translates the part of `range` that lies in the window to the inner space.
    ///
    /// This is the direction of a memory failure. Returns [`None`] if no part lies in the window.
    #[inline]
    pub const fn inward(self, range: Range<Outer, U>) -> Option<Range<Inner, U>> {
        match range.clip(self.outer) {
            None => None,
            Some(common) => Some(common.translate(self.outer.start, self.inner_start)),
        }
    }

    /// Translates `range` to the outer space.
    ///
    /// This is the direction of an access. Returns [`None`] unless all of `range` lies in the
    /// window.
    #[inline]
    pub const fn outward(self, range: Range<Inner, U>) -> Option<Range<Outer, U>> {
        match self.inner().contains(range) {
            false => None,
            true => Some(range.translate(self.inner_start, self.outer.start)),
        }
    }

    /// Translates the part of `range` that lies in the window to the outer space.
    ///
    /// Returns [`None`] if no part lies in the window.
    #[inline]
    pub const fn clip_outward(self, range: Range<Inner, U>) -> Option<Range<Outer, U>> {
        match range.clip(self.inner()) {
            None => None,
            Some(common) => Some(common.translate(self.inner_start, self.outer.start)),
        }
    }
}
