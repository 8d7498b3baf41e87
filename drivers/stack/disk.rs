// SPDX-License-Identifier: GPL-2.0

//! Where a disk has some frames, and who holds it.

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

/// A disk that is above or below another.
#[pin_data]
pub(crate) struct Disk {
    mapping: Mapping,
    /// What a walk has found, as long as it has not been seen to be wrong.
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

    /// Notifies the holder of each range that has some of `frames`, [`None`] if none has.
    ///
    /// For a filesystem in C, that memory is removed means that its device is: XFS shuts down, and
    /// finds no owner of anything any more. So it is notified of all of the disk, once, while it
    /// can find them.
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

    /// Notifies the holder of errors that were found in `frames`, if it is one of `recipients`.
    pub(crate) fn notify_found(&self, frames: &Frames, recipients: Recipients) -> Option<Outcome> {
        let device = self.mapping.device();

        self.notify_each(frames, |range| {
            let outcome = device.notify_found(range, recipients);

            self.record(range, Event::Notified(outcome));
            outcome
        })
    }

    /// Calls `notify` with each range that has some of `frames`. Returns what became of them all.
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

    /// Whether `upper` has memory of this disk.
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

    /// Calls `found` with each range of the disk that has one of `frames` behind it. Ranges that
    /// touch are one.
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

    /// Where the last survey has found `frames`, if they are still there.
    fn cached_pages(&self, frames: &Frames) -> Option<PageRange<space::Device>> {
        let frames = frames.in_a_row()?;
        let pages = self.layout.lock().as_ref()?.pages_of(frames)?;

        if self.mapping.is_at(frames, pages) {
            return Some(pages);
        }

        *self.layout.lock() = None;
        None
    }

    /// Walks over the disk, and calls `found` with all pages that have some of `frames`.
    fn search(&self, frames: &Frames, mut found: impl FnMut(PageRange<space::Device>)) {
        let mut survey = self.layout.lock().is_none().then(Survey::new);
        let mut is_wrong = false;
        let mut last: Option<PageRange<space::Device>> = None;

        self.mapping.walk(|extent| {
            if let Some(survey) = &mut survey {
                survey.add(extent);
            }
            for part in frames.within(extent.outer()) {
                let Some(pages) = extent.inward(part) else {
                    continue;
                };

                is_wrong |= survey.is_none() && !self.has_in_layout(part, pages);
                match &mut last {
                    Some(last) if last.end() == pages.start() => *last = last.hull(pages),
                    _ => last.replace(pages).into_iter().for_each(&mut found),
                }
            }
        });
        // A layout that does not have what is there is wrong. Without one the next failure is
        // searched for, too.
        match survey {
            Some(survey) => *self.layout.lock() = survey.finish().ok(),
            None if is_wrong => *self.layout.lock() = None,
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
