// SPDX-License-Identifier: GPL-2.0

//! The devices above.

use daxmf::{
    memory_failure::{
        Counters,
        Flags,
        Outcome,
        Reason, //
    },
    range::{
        ByteRange,
        FrameRange, //
    },
};
use kernel::{
    prelude::*,
    sync::{
        new_mutex,
        Arc,
        Mutex, //
    },
};

use crate::{
    layout::{
        Layout,
        Survey, //
    },
    memory::{
        Frames,
        Mapping, //
    },
};

/// A device above, whose holder is told.
#[pin_data]
pub(crate) struct Upper {
    mapping: Mapping,
    counters: Arc<Counters>,
    /// What a walk has found, as long as it has not been seen to be wrong.
    #[pin]
    layout: Mutex<Option<Layout>>,
}

impl Upper {
    pub(crate) fn new(mapping: Mapping) -> Result<Arc<Self>> {
        let counters = Arc::new(Counters::new(), GFP_KERNEL)?;

        Arc::pin_init(
            pin_init!(Self {
                mapping,
                counters,
                layout <- new_mutex!(None),
            }),
            GFP_KERNEL,
        )
    }

    pub(crate) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    pub(crate) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Tells the holder of the device of each range that has some of `frames`.
    pub(crate) fn notify(&self, frames: &Frames, flags: Flags) -> Outcome {
        let mut outcome = Outcome::Declined(Reason::Unused);

        self.find(frames, |range| {
            let told = self
                .counters
                .count(|| self.mapping.device().notify_failure(range, flags));

            outcome = outcome.and(told);
        });
        outcome
    }

    /// Whether the device has some of `frames`.
    pub(crate) fn has(&self, frames: &Frames) -> bool {
        let mut has = false;

        self.find(frames, |_| has = true);
        has
    }

    /// Calls `found` with each range of the device that has one of `frames` behind it. Ranges that
    /// touch are one.
    fn find(&self, frames: &Frames, mut found: impl FnMut(ByteRange)) {
        let mut found = |pages: FrameRange| {
            if let Some(range) = pages.bytes() {
                found(range);
            }
        };

        match self.recall(frames) {
            Some(pages) => found(pages),
            None => self.search(frames, found),
        }
    }

    /// Where the last survey has found `frames`, if they are still there.
    fn recall(&self, frames: &Frames) -> Option<FrameRange> {
        let frames = frames.in_a_row()?;
        let pages = self.layout.lock().as_ref()?.pages_of(frames)?;

        if self.mapping.is_at(frames, pages) {
            return Some(pages);
        }

        *self.layout.lock() = None;
        None
    }

    /// Walks over the device, and calls `found` with all pages that have some of `frames`.
    fn search(&self, frames: &Frames, mut found: impl FnMut(FrameRange)) {
        let mut survey = self.layout.lock().is_none().then(Survey::new);
        let mut last: Option<FrameRange> = None;

        self.mapping.walk(|extent| {
            if let Some(survey) = &mut survey {
                survey.add(extent);
            }
            for pages in frames
                .within(extent.frames)
                .filter_map(|part| extent.pages_of(part))
            {
                match &mut last {
                    Some(last) if last.end() == pages.first() => *last = last.hull(pages),
                    _ => last.replace(pages).into_iter().for_each(&mut found),
                }
            }
        });
        // A layout that does not have what is there is wrong. Without one the next failure is
        // searched for, too.
        match survey {
            Some(survey) => *self.layout.lock() = survey.finish().ok(),
            None if last.is_some() => *self.layout.lock() = None,
            None => {}
        }
        last.into_iter().for_each(found);
    }
}

/// The devices above one device.
#[pin_data]
pub(crate) struct Uppers {
    #[pin]
    list: Mutex<List>,
}

/// A list whose entries are numbered in the order in which they came.
struct List {
    entries: KVec<(u64, Arc<Upper>)>,
    next: u64,
}

impl Uppers {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            list <- new_mutex!(List {
                entries: KVec::new(),
                next: 0,
            }),
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.lock().entries.is_empty()
    }

    /// Adds a device, until the entry is dropped.
    pub(crate) fn add(self: &Arc<Self>, upper: Arc<Upper>) -> Result<Entry> {
        let mut list = self.list.lock();
        let number = list.next;

        list.entries.push((number, upper), GFP_KERNEL)?;
        list.next = number.checked_add(1).ok_or(EOVERFLOW)?;
        Ok(Entry {
            uppers: self.clone(),
            number,
        })
    }

    /// Tells the holders of all devices above of a failure of `frames`.
    ///
    /// The list is not locked while a holder is told, and nothing is allocated. A device that comes
    /// or goes meanwhile may be told or not.
    pub(crate) fn notify(&self, frames: &Frames, flags: Flags) -> Outcome {
        let mut outcome = Outcome::Declined(Reason::Unused);
        let mut next = Some(0);

        while let Some((number, upper)) = next.and_then(|next| self.first_from(next)) {
            outcome = outcome.and(upper.notify(frames, flags));
            next = number.checked_add(1);
        }
        outcome
    }

    fn first_from(&self, number: u64) -> Option<(u64, Arc<Upper>)> {
        let list = self.list.lock();
        let entry = list.entries.iter().find(|entry| entry.0 >= number)?;

        Some(entry.clone())
    }
}

/// A device in the list of those above, until it is dropped.
pub(crate) struct Entry {
    uppers: Arc<Uppers>,
    number: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.uppers
            .list
            .lock()
            .entries
            .retain(|entry| entry.0 != self.number);
    }
}
