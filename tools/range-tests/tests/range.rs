// SPDX-License-Identifier: GPL-2.0

//! Tests `rust/range.rs` against a model that computes in 128 bits, so that it cannot overflow.

#[path = "../../../rust/range.rs"]
mod range;

use proptest::prelude::*;
use range::{
    space, ByteRange, PageRange, Pages, Range, Space, Unit, Window, PAGE_SHIFT, PAGE_SIZE,
    SECTOR_SHIFT,
};

/// The first address that 64 bits cannot hold.
const TOP: u128 = 1 << 64;

/// A half-open range of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Model {
    start: u128,
    end: u128,
}

impl Model {
    fn clip(self, bounds: Self) -> Option<Self> {
        let start = self.start.max(bounds.start);
        let end = self.end.min(bounds.end);
        (start < end).then_some(Self { start, end })
    }

    /// Moves the range by the distance from `old` to `new`.
    fn moved(self, old: u128, new: u128) -> Self {
        Self {
            start: self.start - old + new,
            end: self.end - old + new,
        }
    }
}

fn model<S: Space, U: Unit>(range: Range<S, U>) -> Model {
    let start = u128::from(range.start());
    Model {
        start,
        end: start + u128::from(range.len()),
    }
}

/// The ranges of the tests that need only one space.
type Bytes = ByteRange<space::Device>;
type Frames = PageRange<space::Physical>;

/// A window of bytes, such as a partition or an extent, and a window of pages.
type Extent = Window<space::Device, space::Volume>;
type Segment = Window<space::Physical, space::Device, Pages>;

/// Numbers that are often equal or next to 0, a page boundary, the sign bit, or the greatest
/// number.
fn edgy() -> impl Strategy<Value = u64> {
    let base = prop_oneof![
        Just(0),
        Just(u64::MAX),
        Just(1 << 63),
        Just(1 << (64 - PAGE_SHIFT)),
        (0..64u64).prop_map(|n| n * PAGE_SIZE),
        (0..64u64).prop_map(|n| u64::MAX - n * PAGE_SIZE),
        any::<u64>(),
    ];
    (base, -2..=2i64).prop_map(|(base, off)| base.saturating_add_signed(off))
}

fn byte_range<S: Space>() -> impl Strategy<Value = ByteRange<S>> {
    (edgy(), edgy()).prop_filter_map("no range", |(start, len)| {
        // Shorten ranges that do not fit, so that many ranges end at the greatest number.
        ByteRange::new(start, len.min(u64::MAX - start))
    })
}

fn page_range<S: Space>() -> impl Strategy<Value = PageRange<S>> {
    byte_range().prop_map(ByteRange::pages)
}

fn bytes() -> impl Strategy<Value = Bytes> {
    byte_range()
}

fn frames() -> impl Strategy<Value = Frames> {
    page_range()
}

/// Windows that often start at or next to 0, or end at or next to the greatest number.
fn window<O: Space, I: Space, U: Unit>(
    outer: impl Strategy<Value = Range<O, U>>,
) -> impl Strategy<Value = Window<O, I, U>> {
    (outer, edgy()).prop_map(|(outer, start)| {
        let inner = Range::new(start.min(U::MAX_END - outer.len()), outer.len()).unwrap();
        Window::new(outer, inner).unwrap()
    })
}

fn extent() -> impl Strategy<Value = Extent> {
    window(byte_range())
}

fn segment() -> impl Strategy<Value = Segment> {
    window(page_range())
}

/// Checks all conversions of a window, with `from` in its outer space and `to` in its inner space.
fn check_window<O: Space, I: Space, U: Unit>(
    window: Window<O, I, U>,
    from: Range<O, U>,
    to: Range<I, U>,
) -> Result<(), TestCaseError> {
    let (outer, inner) = (model(window.outer()), model(window.inner()));
    let is_valid = |range: Range<O, U>| Range::new(range.start(), range.len()) == Some(range);

    prop_assert_eq!(outer.end - outer.start, inner.end - inner.start);
    prop_assert_eq!(Window::new(window.outer(), window.inner()), Some(window));

    // `inward()` clips the range, and moves it.
    let common = model(from).clip(outer);
    let inward = window.inward(from);
    prop_assert_eq!(
        inward.map(model),
        common.map(|m| m.moved(outer.start, inner.start))
    );
    if let Some(inward) = inward {
        prop_assert_eq!(Range::new(inward.start(), inward.len()), Some(inward));
        prop_assert!(window.inner().contains(inward));
        prop_assert_eq!(window.outward(inward), from.clip(window.outer()));
    }

    // `outward()` converts the whole range, or returns nothing.
    let outward = window.outward(to);
    prop_assert_eq!(outward.is_some(), inner.clip(model(to)) == Some(model(to)));
    if let Some(outward) = outward {
        prop_assert!(is_valid(outward) && window.outer().contains(outward));
        prop_assert_eq!(window.inward(outward), Some(to));
    }

    // `clip_outward()` clips the range, and moves it.
    let clipped = window.clip_outward(to);
    let common = model(to).clip(inner);
    prop_assert_eq!(
        clipped.map(model),
        common.map(|m| m.moved(inner.start, outer.start))
    );
    prop_assert!(clipped.is_none_or(is_valid));

    // Convert the whole window in both directions.
    prop_assert_eq!(window.inward(window.outer()), Some(window.inner()));
    prop_assert_eq!(window.outward(window.inner()), Some(window.outer()));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn alignment_divides_start_and_length(range in bytes(), align in edgy()) {
        let divides = align != 0 && range.start() % align == 0 && range.len() % align == 0;

        prop_assert_eq!(range.is_aligned(align), divides);
    }

    #[test]
    fn whole_pages_are_aligned(first in 0..1u64 << 40, count in 1..1u64 << 10) {
        let bytes = Frames::new(first, count).and_then(Frames::bytes);

        prop_assert!(bytes.is_some_and(|bytes| bytes.is_aligned(PAGE_SIZE)));
    }

    #[test]
    fn new_refuses_empty_and_wrapping_ranges(start in edgy(), len in edgy()) {
        let fits = u128::from(start) + u128::from(len) < TOP;
        let range = Bytes::new(start, len);
        prop_assert_eq!(range.is_some(), len != 0 && fits);
        if let Some(range) = range {
            prop_assert_eq!((range.start(), range.len()), (start, len));
            prop_assert_eq!(range.end(), start + len);
        }
    }

    #[test]
    fn between_takes_the_end(start in edgy(), end in edgy()) {
        let range = Bytes::between(start, end);
        prop_assert_eq!(range.is_some(), start < end);
        if let Some(range) = range {
            prop_assert_eq!((range.start(), range.end()), (start, end));
        }
    }

    #[test]
    fn clip_is_the_intersection(a in bytes(), b in bytes()) {
        prop_assert_eq!(a.clip(b).map(model), model(a).clip(model(b)));
        prop_assert_eq!(a.clip(b), b.clip(a));
        prop_assert_eq!(a.clip(a), Some(a));
        prop_assert_eq!(a.clip(ByteRange::ALL), Some(a));
    }

    #[test]
    fn contained_range_is_not_changed_by_clip(a in bytes(), b in bytes()) {
        prop_assert_eq!(a.contains(b), a.clip(b) == Some(b));
    }

    #[test]
    fn bytes_through_a_window(window in extent(), from in byte_range(), to in byte_range()) {
        check_window(window, from, to)?;
    }

    #[test]
    fn pages_through_a_window(window in segment(), from in page_range(), to in page_range()) {
        check_window(window, from, to)?;
    }

    #[test]
    fn window_at_a_place_starts_at_0(outer in byte_range(), from in byte_range()) {
        let window = Extent::at(outer);

        prop_assert_eq!(window.outer(), outer);
        prop_assert_eq!(window.inner(), Range::new(0, outer.len()).unwrap());
        check_window(window, from, Range::new(from.start(), from.len()).unwrap())?;
    }

    #[test]
    fn window_has_the_same_length_on_both_sides(outer in byte_range(), inner in byte_range()) {
        prop_assert_eq!(Extent::new(outer, inner).is_some(), outer.len() == inner.len());
    }

    #[test]
    fn pages_are_those_with_a_byte_in_the_range(a in bytes()) {
        let pages = a.pages();
        let last = (model(a).end - 1) >> PAGE_SHIFT;
        prop_assert_eq!(pages.start(), a.start() >> PAGE_SHIFT);
        prop_assert_eq!(u128::from(pages.end()), last + 1);
        prop_assert_eq!(PageRange::new(pages.start(), pages.len()), Some(pages));
    }

    #[test]
    fn pages_exist_below_the_top_only(start in edgy(), len in edgy()) {
        let end = u128::from(start) + u128::from(len);
        let range = Frames::new(start, len);
        prop_assert_eq!(range.is_some(), len != 0 && end <= TOP >> PAGE_SHIFT);
        if let Some(range) = range {
            prop_assert_eq!((range.start(), range.len()), (start, len));
            prop_assert_eq!(u128::from(range.end()), end);
        }
    }

    #[test]
    fn clip_of_pages_is_the_intersection(a in frames(), b in frames()) {
        prop_assert_eq!(a.clip(b).map(model), model(a).clip(model(b)));
        prop_assert_eq!(a.clip(a), Some(a));
    }

    #[test]
    fn sectors_are_those_with_a_byte_in_the_range(a in bytes()) {
        let (first, count) = a.sectors();
        let last = (model(a).end - 1) >> SECTOR_SHIFT;
        prop_assert_eq!(first, a.start() >> SECTOR_SHIFT);
        prop_assert_eq!(u128::from(first) + u128::from(count), last + 1);
    }

    #[test]
    fn hull_is_the_smallest_range_with_both(a in frames(), b in frames()) {
        let hull = a.hull(b);

        prop_assert_eq!(hull.start(), a.start().min(b.start()));
        prop_assert_eq!(hull.end(), a.end().max(b.end()));
        prop_assert_eq!(PageRange::new(hull.start(), hull.len()), Some(hull));
    }

    #[test]
    fn skip_leaves_the_rest(a in bytes(), len in edgy()) {
        let rest = a.skip(len);

        prop_assert_eq!(rest.is_some(), len < a.len());
        if let Some(rest) = rest {
            prop_assert_eq!(rest.start(), a.start() + len);
            prop_assert_eq!(rest.end(), a.end());
        }
    }

    #[test]
    fn bytes_of_pages_are_all_of_them(start in edgy(), len in edgy()) {
        let start = start % Pages::MAX_END;
        let len = len.min(Pages::MAX_END - start);
        if let Some(pages) = Frames::new(start, len) {
            let end = u128::from(pages.end()) << PAGE_SHIFT;
            prop_assert_eq!(pages.bytes().is_some(), end < TOP);
            if let Some(bytes) = pages.bytes() {
                prop_assert_eq!(model(bytes).end, end);
                prop_assert_eq!(bytes.pages(), pages);
            }
        }
    }
}

#[test]
fn ranges_are_as_small_as_their_numbers() {
    assert_eq!(size_of::<Bytes>(), 2 * size_of::<u64>());
    assert_eq!(size_of::<Frames>(), 2 * size_of::<u64>());
    assert_eq!(size_of::<Extent>(), 3 * size_of::<u64>());
}

#[test]
fn the_whole_device_is_clipped_to_its_size() {
    let device = Bytes::new(0, 512 << 20).unwrap();
    assert_eq!(Bytes::new(0, u64::MAX), Some(ByteRange::ALL));
    assert_eq!(ByteRange::ALL.clip(device), Some(device));
    assert_eq!(
        Extent::at(device).clip_outward(ByteRange::ALL),
        Some(device)
    );
    assert_eq!(Extent::at(device).outward(ByteRange::ALL), None);
}

#[test]
fn first_and_last_page_of_a_namespace() {
    let place = ByteRange::<space::Physical>::new(0x1_4000_0000, 1 << 30).unwrap();
    let namespace: Window<_, space::Device> = Window::at(place);
    let page = |start| ByteRange::new(start, PAGE_SIZE).unwrap();
    let page_at = |offset| namespace.inward(page(place.start() + offset));

    assert_eq!(page_at(0), ByteRange::new(0, PAGE_SIZE));
    let last = place.len() - PAGE_SIZE;
    assert_eq!(page_at(last), ByteRange::new(last, PAGE_SIZE));
    assert_eq!(page_at(place.len()), None);
    assert_eq!(namespace.inward(page(place.start() - PAGE_SIZE)), None);
}

#[test]
fn a_range_across_an_end_is_cut_there() {
    let partition = Extent::at(ByteRange::new(1 << 20, 1 << 20).unwrap());
    let across_start = ByteRange::new((1 << 20) - PAGE_SIZE, 2 * PAGE_SIZE).unwrap();
    assert_eq!(partition.inward(across_start), ByteRange::new(0, PAGE_SIZE));
    let across_end = ByteRange::new((2 << 20) - PAGE_SIZE, 2 * PAGE_SIZE).unwrap();
    assert_eq!(
        partition.inward(across_end),
        ByteRange::new((1 << 20) - PAGE_SIZE, PAGE_SIZE)
    );
}

#[test]
fn the_page_at_the_very_top_has_no_byte_range() {
    let last = Pages::MAX_END - 1;
    assert_eq!(Frames::new(last, 1).unwrap().bytes(), None);
    assert!(Frames::new(last - 1, 1).unwrap().bytes().is_some());
    assert_eq!(Frames::new(last, 2), None);
}
