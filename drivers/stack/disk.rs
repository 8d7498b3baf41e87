// SPDX-License-Identifier: GPL-2.0

//! Finds page frames in a disk, and notifies the holder of the disk.

use core::ptr;

use daxmf::{
    dax::{
        holder::Recipients,
        ReadLock, //
    },
    events::{
        self,
        Event, //
    },
    memory_failure::{
        Flags,
        Outcome, //
    },
    range::{
        space,
        ByteRange,
        PageRange, //
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

/// A lower or an upper disk.
#[pin_data]
pub(crate) struct Disk {
    mapping: Mapping,
    /// The result of the last walk, until a lookup shows that it is outdated.
    #[pin]
    layout: Mutex<Option<Layout>>,
}

impl PartialEq for Disk {
    fn eq(&self, other: &Self) -> bool {
        ptr::eq(&**self.mapping.device(), &**other.mapping.device())
    }
}

impl Disk {
    pub(crate) fn new(mapping: Mapping) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                mapping,
                layout <- new_mutex!(None),
            }),
            GFP_KERNEL,
        )
    }

    pub(crate) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// Notifies the holder of each range that has some of `frames`. Returns [`None`] if there is no
    /// such range.
    ///
    /// A filesystem in C handles the removal of some memory as the removal of its device: XFS shuts
    /// down, and cannot find owners afterwards. So this method notifies a holder in C only once, of
    /// the removal of the whole disk, while the holder can still find owners.
    pub(crate) fn notify(&self, frames: &Frames, flags: Flags) -> Option<Outcome> {
        let device = self.mapping.device();

        if flags.contains(Flags::MEM_PRE_REMOVE) && !device.has_registered_holder(&ReadLock::new())
        {
            return self
                .has(frames)
                .then(|| self.notify_failure(ByteRange::ALL, flags));
        }
        self.notify_each(frames, |range| Some(self.notify_failure(range, flags)))
    }

    fn notify_failure(&self, range: ByteRange<space::Device>, flags: Flags) -> Outcome {
        let outcome = self.mapping.device().notify_failure(range, flags);

        self.record(range, Event::Failure(flags, outcome));
        outcome
    }

    fn record(&self, range: ByteRange<space::Device>, event: Event) {
        events::record(self.mapping.disk().name(), range, event);
    }

    /// Notifies the holder of found errors in `frames`, if the holder is one of `recipients`.
    pub(crate) fn notify_found(&self, frames: &Frames, recipients: Recipients) -> Option<Outcome> {
        let device = self.mapping.device();

        self.notify_each(frames, |range| {
            let outcome = device.notify_found(range, recipients);

            self.record(range, Event::Notified(outcome));
            outcome
        })
    }

    /// Calls `notify` with each range that has some of `frames`. Returns the combined outcome.
    fn notify_each(
        &self,
        frames: &Frames,
        notify: impl Fn(ByteRange<space::Device>) -> Option<Outcome>,
    ) -> Option<Outcome> {
        let mut all = None;

        self.find(frames, |range| {
            all = [all, notify(range)]
                .into_iter()
                .flatten()
                .reduce(Outcome::and);
        });
        all
    }

    /// Whether `upper` has some of the frames of this disk.
    pub(crate) fn is_below(&self, upper: &Self) -> bool {
        self.mapping
            .frames(ByteRange::ALL)
            .is_some_and(|frames| upper.has(&frames))
    }

    /// Whether the disk has some of `frames`.
    pub(crate) fn has(&self, frames: &Frames) -> bool {
        let mut has = false;

        self.find(frames, |_| has = true);
        has
    }

    /// Calls `found` with each range of the disk whose memory is some of `frames`. Ranges that
    /// touch are merged.
    fn find(&self, frames: &Frames, mut found: impl FnMut(ByteRange<space::Device>)) {
        let mut found = |pages: PageRange<space::Device>| {
            if let Some(range) = pages.bytes() {
                found(range);
            }
        };

        match self.cached_pages(frames) {
            Some(pages) => found(pages),
            None => self.search(frames, found),
        }
    }

    /// The pages where the last walk found `frames`, if the frames are still there.
    fn cached_pages(&self, frames: &Frames) -> Option<PageRange<space::Device>> {
        let frames = frames.contiguous()?;
        let pages = self.layout.lock().as_ref()?.pages_of(frames)?;

        if self.mapping.is_at(frames, pages) {
            return Some(pages);
        }

        *self.layout.lock() = None;
        None
    }

    /// Walks over the disk, and calls `found` with each run of pages that have some of `frames`.
    fn search(&self, frames: &Frames, mut found: impl FnMut(PageRange<space::Device>)) {
        let mut survey = self.layout.lock().is_none().then(Survey::new);
        let mut is_outdated = false;
        let mut last: Option<PageRange<space::Device>> = None;

        self.mapping.walk(|run| {
            if let Some(survey) = &mut survey {
                survey.add(run);
            }
            for part in frames.within(run.outer()) {
                let Some(pages) = run.inward(part) else {
                    continue;
                };

                is_outdated |= survey.is_none() && !self.has_in_layout(part, pages);
                match &mut last {
                    Some(last) if last.end() == pages.start() => *last = last.hull(pages),
                    _ => last.replace(pages).into_iter().for_each(&mut found),
                }
            }
        });
        // The layout is outdated if it lacks pages that this walk found. Without a layout, the next
        // failure needs a walk, too, which makes a new one.
        match survey {
            Some(survey) => *self.layout.lock() = survey.finish().ok(),
            None if is_outdated => *self.layout.lock() = None,
            None => {}
        }
        last.into_iter().for_each(found);
    }

    fn has_in_layout(
        &self,
        frames: PageRange<space::Physical>,
        pages: PageRange<space::Device>,
    ) -> bool {
        let layout = self.layout.lock();

        layout.as_ref().and_then(|layout| layout.pages_of(frames)) == Some(pages)
    }
}
