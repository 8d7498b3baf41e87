// SPDX-License-Identifier: GPL-2.0

//! Notifies the holder of found errors, which no process has consumed yet.
//!
//! A scrub of the platform, a failed read, root, or a machine check in the kernel finds an error.
//! The code that adds the error can hold locks that the holder waits for. So that code only adds
//! the error to the pending errors, and a work item notifies the holder.

use core::ops::Deref;

use daxmf::{
    dax::{
        device::Control,
        holder::Recipients, //
    },
    events::{
        self,
        Event,
        Source, //
    },
    mce,
    memory_failure::{
        Counters,
        Outcome, //
    },
    nvdimm::{
        namespace::Bound,
        Namespace, //
    },
    range::{
        space,
        ByteRange,
        PageRange, //
    },
    work, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
};

use crate::{
    announce::{
        announce,
        Announcer, //
    },
    bad::BadMemory,
    page_set::PageSet, //
};

/// The holders that are notified of found errors, for each of [`Found::POLICIES`].
const RECIPIENTS: [Option<Recipients>; 3] =
    [Some(Recipients::Willing), Some(Recipients::All), None];

/// Warns that the list of bad blocks has no room for `range`, unless `is_listed` is set.
pub(crate) fn warn_if_unlisted(
    namespace: &Namespace,
    is_listed: bool,
    range: ByteRange<space::Device>,
) {
    if !is_listed {
        dev_warn!(
            namespace.device(),
            "badblocks is full: it does not show the bad range {:#x}..{:#x}\n",
            range.start(),
            range.end()
        );
    }
}

/// Records an event: errors were found in `pages`, which were good.
pub(crate) fn record_found(namespace: &Namespace, pages: PageRange<space::Device>, source: Source) {
    if let Some(range) = pages.bytes() {
        events::record(namespace.disk_name(), range, Event::Found(source));
    }
}

/// Notifies the holder of found errors in the memory of a namespace.
#[pin_data]
pub(crate) struct Found {
    namespace: Arc<Namespace>,
    control: Control,
    bad: Arc<BadMemory>,
    /// Counts memory failures and notifications of found errors.
    counters: Counters,
    /// The pages with found errors of which the holder is not notified yet. Pages are added and
    /// removed under the lock of [`BadMemory`], with each change of the bad ranges. The work item
    /// removes pages when it notifies the holder of them.
    pending: PageSet,
    /// An index in [`Found::POLICIES`].
    policy: Atomic<usize>,
    /// The number of pages with found errors of which no holder was notified.
    unnotified: Atomic<u64>,
    announcer: work::Handle<Announcer>,
}

impl Found {
    /// The policies: notify the holders with a `notify_found()` of their own, all holders, or none.
    pub(crate) const POLICIES: &'static [&'static CStr] = &[c"auto", c"always", c"never"];

    /// Creates the notifier of a namespace, without a pending page.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn new(
        namespace: Arc<Namespace>,
        control: Control,
        bad: Arc<BadMemory>,
        announcer: work::Handle<Announcer>,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            pending: PageSet::new(namespace.window().inner().pages().len())?,
            namespace,
            control,
            bad,
            counters: Counters::new(),
            policy: Atomic::new(0),
            unnotified: Atomic::new(0),
            announcer,
        })
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn policy(&self) -> usize {
        self.policy.load(Relaxed)
    }

    pub(crate) fn set_policy(&self, index: usize) {
        self.policy.store(index, Relaxed);
    }

    pub(crate) fn unnotified(&self) -> u64 {
        self.unnotified.load(Relaxed)
    }

    /// Adds `pages`, which were good, to the pages of which the holder must be notified. Called
    /// under the lock of [`BadMemory`].
    fn add_pending(&self, pages: PageRange<space::Device>, source: Source) {
        record_found(&self.namespace, pages, source);
        self.pending.add(pages);
    }

    /// Removes `pages` from the pages of which the holder must be notified: either they have
    /// failed, of which [`Failures`](crate::failures::Failures) notifies the holder, or they are
    /// good again. Called under the lock of [`BadMemory`].
    pub(crate) fn remove_pending(&self, pages: PageRange<space::Device>) {
        self.pending.remove(pages);
    }

    /// Notifies the holder of errors in `pages`. Returns [`None`] if no holder was notified.
    fn notify(&self, pages: PageRange<space::Device>) -> Option<Outcome> {
        let recipients = RECIPIENTS.get(self.policy()).copied().flatten()?;
        let range = pages.bytes()?;
        let outcome = self.control.notify_found(range, recipients)?;

        if outcome != Outcome::Delivered {
            dev_warn!(
                self.namespace.device(),
                "errors found at offset {:#x} length {:#x}: {outcome}\n",
                range.start(),
                range.len()
            );
        }
        Some(self.counters.count(|| outcome))
    }
}

impl work::Item for Found {
    fn run(&self) {
        let mut rest = Some(self.namespace.window().inner().pages());

        // A finder that adds pages before `rest` queues the item again.
        while let Some((all, pages)) = rest.and_then(|all| Some((all, self.pending.first_in(all)?)))
        {
            // Remove the pages before the notification, so that an error that is found during the
            // notification stays pending.
            self.pending.remove(pages);

            let outcome = self.notify(pages);

            if outcome.is_none() {
                self.unnotified.fetch_add(pages.len(), Relaxed);
            }
            if let Some(range) = pages.bytes() {
                events::record(self.namespace.disk_name(), range, Event::Notified(outcome));
            }
            announce(&self.announcer);
            rest = PageRange::between(pages.end(), all.end());
        }
    }
}

/// Adds found errors to the bad ranges, and queues the notification of the holder.
#[derive(Clone)]
pub(crate) struct Finder(work::Handle<Found>);

impl Finder {
    pub(crate) fn new(found: work::Handle<Found>) -> Self {
        Self(found)
    }

    /// Adds `range` to the bad ranges, and queues a notification of the pages in it that were good.
    pub(crate) fn add(&self, range: ByteRange<space::Device>, source: Source) {
        let is_listed = self
            .bad
            .add_found(range, |pages| self.add_pending(pages, source));

        self.0.queue();
        warn_if_unlisted(&self.namespace, is_listed, range);
    }

    /// Adds the bad ranges of the platform, and queues a notification of the pages in them that
    /// were good.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn add_platform_errors(&self, bound: &Bound<'_>) -> Result {
        let result = self.bad.populate(
            |range, list| bound.populate_badblocks(range, list),
            |pages| self.add_pending(pages, Source::Platform),
        );

        // Queue the item after an error, too: some pages can have been added before the error.
        self.0.queue();
        result
    }
}

impl mce::Handler for Finder {
    fn memory_error(&self, range: ByteRange<space::Physical>) {
        let Some(range) = self.namespace.window().inward(range) else {
            return;
        };

        dev_warn!(
            self.namespace.device(),
            "machine check at offset {:#x} length {:#x}, the range is bad now\n",
            range.start(),
            range.len()
        );
        self.add(range, Source::MachineCheck);
    }
}

impl Deref for Finder {
    type Target = Found;

    fn deref(&self) -> &Found {
        &self.0
    }
}
