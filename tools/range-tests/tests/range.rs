// SPDX-License-Identifier: GPL-2.0

//! Checks `rust/range.rs` against a model that computes in 128 bits and so cannot overflow.

#[path = "../../../rust/range.rs"]
mod range;

use proptest::prelude::*;
use range::{ByteRange, FrameRange, PAGE_SHIFT, PAGE_SIZE, SECTOR_SHIFT};

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

    fn down(self, by: u128) -> Self {
        Self {
            start: self.start - by,
            end: self.end - by,
        }
    }
}

fn model(range: ByteRange) -> Model {
    let start = u128::from(range.start());
    Model {
        start,
        end: start + u128::from(range.len()),
    }
}

/// Numbers of which many are, or are next to, 0, a page boundary, the sign bit or the top.
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

fn byte_range() -> impl Strategy<Value = ByteRange> {
    (edgy(), edgy()).prop_filter_map("no range", |(start, len)| {
        // Shorten what does not fit, so that ranges which end at the very top are common.
        ByteRange::new(start, len.min(u64::MAX - start))
    })
}

fn frame_range() -> impl Strategy<Value = FrameRange> {
    byte_range().prop_map(ByteRange::frames)
}

fn frame_model(range: FrameRange) -> Model {
    Model {
        start: range.first().into(),
        end: range.end().into(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn aligned_is_what_divides_both(range in byte_range(), align in edgy()) {
        let divides = align != 0 && range.start() % align == 0 && range.len() % align == 0;

        prop_assert_eq!(range.is_aligned(align), divides);
    }

    #[test]
    fn whole_pages_are_aligned(first in 0..1u64 << 40, count in 1..1u64 << 10) {
        let bytes = FrameRange::new(first, count).and_then(FrameRange::bytes);

        prop_assert!(bytes.is_some_and(|bytes| bytes.is_aligned(PAGE_SIZE)));
    }

    #[test]
    fn new_accepts_what_is_neither_empty_nor_wraps(start in edgy(), len in edgy()) {
        let fits = u128::from(start) + u128::from(len) < TOP;
        let range = ByteRange::new(start, len);
        prop_assert_eq!(range.is_some(), len != 0 && fits);
        if let Some(range) = range {
            prop_assert_eq!((range.start(), range.len()), (start, len));
            prop_assert_eq!(range.end(), start + len);
        }
    }

    #[test]
    fn between_is_new_by_the_end(start in edgy(), end in edgy()) {
        let range = ByteRange::between(start, end);
        prop_assert_eq!(range.is_some(), start < end);
        if let Some(range) = range {
            prop_assert_eq!((range.start(), range.end()), (start, end));
        }
    }

    #[test]
    fn clip_is_the_intersection(a in byte_range(), b in byte_range()) {
        prop_assert_eq!(a.clip(b).map(model), model(a).clip(model(b)));
        prop_assert_eq!(a.clip(b), b.clip(a));
        prop_assert_eq!(a.clip(a), Some(a));
        prop_assert_eq!(a.clip(ByteRange::ALL), Some(a));
    }

    #[test]
    fn contains_is_clip_that_cuts_nothing(a in byte_range(), b in byte_range()) {
        prop_assert_eq!(a.contains(b), a.clip(b) == Some(b));
    }

    #[test]
    fn relative_to_counts_from_the_window(a in byte_range(), window in byte_range()) {
        let by = u128::from(window.start());
        let expected = model(a).clip(model(window)).map(|m| m.down(by));
        prop_assert_eq!(a.relative_to(window).map(model), expected);
    }

    #[test]
    fn offset_by_undoes_relative_to(a in byte_range(), window in byte_range()) {
        if let Some(inner) = a.relative_to(window) {
            prop_assert_eq!(inner.offset_by(window.start()), a.clip(window));
        }
    }

    #[test]
    fn located_in_is_whole_or_nothing(a in byte_range(), window in byte_range()) {
        let located = a.located_in(window);

        prop_assert_eq!(located.is_some(), model(a).end <= u128::from(window.len()));
        if let Some(located) = located {
            prop_assert_eq!(located.relative_to(window), Some(a));
        }
    }

    #[test]
    fn offset_by_refuses_to_wrap(a in byte_range(), base in edgy()) {
        let moved = a.offset_by(base);
        prop_assert_eq!(moved.is_some(), model(a).end + u128::from(base) < TOP);
        if let Some(moved) = moved {
            prop_assert_eq!(model(moved).down(base.into()), model(a));
        }
    }

    #[test]
    fn frames_are_those_with_a_byte_in_the_range(a in byte_range()) {
        let frames = a.frames();
        let last = (model(a).end - 1) >> PAGE_SHIFT;
        prop_assert_eq!(frames.first(), a.start() >> PAGE_SHIFT);
        prop_assert_eq!(u128::from(frames.end()), last + 1);
        prop_assert_eq!(FrameRange::new(frames.first(), frames.count()), Some(frames));
    }

    #[test]
    fn sectors_are_those_with_a_byte_in_the_range(a in byte_range()) {
        let (first, count) = a.sectors();
        let last = (model(a).end - 1) >> SECTOR_SHIFT;
        prop_assert_eq!(first, a.start() >> SECTOR_SHIFT);
        prop_assert_eq!(u128::from(first) + u128::from(count), last + 1);
    }

    #[test]
    fn frames_exist_below_the_top_only(first in edgy(), count in edgy()) {
        let end = u128::from(first) + u128::from(count);
        let range = FrameRange::new(first, count);
        prop_assert_eq!(range.is_some(), count != 0 && end <= TOP >> PAGE_SHIFT);
        if let Some(range) = range {
            prop_assert_eq!((range.first(), range.count()), (first, count));
            prop_assert_eq!(u128::from(range.end()), end);
        }
    }

    #[test]
    fn clip_of_frames_is_the_intersection(a in frame_range(), b in frame_range()) {
        prop_assert_eq!(a.clip(b).map(frame_model), frame_model(a).clip(frame_model(b)));
        prop_assert_eq!(a.clip(a), Some(a));
    }

    #[test]
    fn hull_is_the_least_that_holds_both(a in frame_range(), b in frame_range()) {
        let hull = a.hull(b);

        prop_assert_eq!(hull.first(), a.first().min(b.first()));
        prop_assert_eq!(hull.end(), a.end().max(b.end()));
        prop_assert_eq!(FrameRange::new(hull.first(), hull.count()), Some(hull));
    }

    #[test]
    fn skip_leaves_the_rest(a in frame_range(), count in edgy()) {
        let rest = a.skip(count);

        prop_assert_eq!(rest.is_some(), count < a.count());
        if let Some(rest) = rest {
            prop_assert_eq!(rest.first(), a.first() + count);
            prop_assert_eq!(rest.end(), a.end());
        }
    }

    #[test]
    fn part_lies_where_it_says(a in frame_range(), part in frame_range()) {
        let wanted = u128::from(a.first()) + u128::from(part.first());
        let end = (wanted + u128::from(part.count())).min(u128::from(a.end()));

        match a.part(part) {
            None => prop_assert!(wanted >= u128::from(a.end())),
            Some(part) => {
                prop_assert_eq!(u128::from(part.first()), wanted);
                prop_assert_eq!(u128::from(part.end()), end);
                prop_assert_eq!(FrameRange::new(part.first(), part.count()), Some(part));
            }
        }
    }

    #[test]
    fn bytes_of_frames_are_whole_pages(first in edgy(), count in edgy()) {
        let pages = TOP >> PAGE_SHIFT;
        let first = first % (1 << (64 - PAGE_SHIFT));
        let count = u64::try_from(u128::from(count).min(pages - u128::from(first))).unwrap();
        if let Some(frames) = FrameRange::new(first, count) {
            let end = u128::from(frames.end()) << PAGE_SHIFT;
            prop_assert_eq!(frames.bytes().is_some(), end < TOP);
            if let Some(bytes) = frames.bytes() {
                prop_assert_eq!(model(bytes).end, end);
                prop_assert_eq!(bytes.frames(), frames);
            }
        }
    }
}

#[test]
fn the_whole_device_is_clipped_to_its_size() {
    let device = ByteRange::new(0, 512 << 20).unwrap();
    assert_eq!(ByteRange::new(0, u64::MAX), Some(ByteRange::ALL));
    assert_eq!(ByteRange::ALL.clip(device), Some(device));
}

#[test]
fn first_and_last_page_of_a_device() {
    let device = ByteRange::new(0x1_4000_0000, 1 << 30).unwrap();
    let page = |offset| ByteRange::new(device.start() + offset, PAGE_SIZE).unwrap();
    let relative = |offset| page(offset).relative_to(device);

    assert_eq!(relative(0), ByteRange::new(0, PAGE_SIZE));
    let last = device.len() - PAGE_SIZE;
    assert_eq!(relative(last), ByteRange::new(last, PAGE_SIZE));
    assert_eq!(relative(device.len()), None);
    let before = ByteRange::new(device.start() - PAGE_SIZE, PAGE_SIZE).unwrap();
    assert_eq!(before.relative_to(device), None);
}

#[test]
fn a_range_across_an_end_is_cut_there() {
    let partition = ByteRange::new(1 << 20, 1 << 20).unwrap();
    let across_start = ByteRange::new((1 << 20) - PAGE_SIZE, 2 * PAGE_SIZE).unwrap();
    assert_eq!(
        across_start.relative_to(partition),
        ByteRange::new(0, PAGE_SIZE)
    );
    let across_end = ByteRange::new((2 << 20) - PAGE_SIZE, 2 * PAGE_SIZE).unwrap();
    assert_eq!(
        across_end.relative_to(partition),
        ByteRange::new((1 << 20) - PAGE_SIZE, PAGE_SIZE)
    );
}

#[test]
fn the_frame_at_the_very_top_has_no_byte_range() {
    let last = (1u64 << (64 - PAGE_SHIFT)) - 1;
    assert_eq!(FrameRange::new(last, 1).unwrap().bytes(), None);
    assert!(FrameRange::new(last - 1, 1).unwrap().bytes().is_some());
    assert_eq!(FrameRange::new(last, 2), None);
}
