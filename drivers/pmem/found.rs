// SPDX-License-Identifier: GPL-2.0

//! Errors that were found and that no process has hit, on their way to the holder.
//!
//! A scrub of the platform, a failed read or root finds them, with locks held that a holder may
//! wait for. So they are noted there, and the holder is notified in a work item.

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

/// The holders that are notified of errors that were found, for each of [`Found::POLICIES`].
const RECIPIENTS: [Option<Recipients>; 3] =
    [Some(Recipients::Willing), Some(Recipients::All), None];

/// Warns that the list of bad blocks of a namespace lacks `range`, unless it has it.
pub(crate) fn warn_unless(namespace: &Namespace, is_listed: bool, range: ByteRange<space::Device>) {
    if !is_listed {
        dev_warn!(
            namespace.device(),
            "badblocks is full, {:#x}..{:#x} is bad without being shown\n",
            range.start(),
            range.end()
        );
    }
}

/// Records that `pages`, which were good, are bad from now on.
pub(crate) fn record_found(namespace: &Namespace, pages: PageRange<space::Device>, source: Source) {
    if let Some(range) = pages.bytes() {
        events::record(namespace.disk_name(), range, Event::Found(source));
    }
}

/// Notifies the holder of errors that were found in the memory of a namespace.
#[pin_data]
pub(crate) struct Found {
    namespace: Arc<Namespace>,
    control: Control,
    bad: Arc<BadMemory>,
    /// Of all that the holder is notified of, be it found or hit.
    counters: Counters,
    /// The pages that the holder is to be notified of. Pages are added and removed when what is bad
    /// changes, under the lock of that; the work item removes those that it goes on with.
    news: PageSet,
    /// An index in [`Found::POLICIES`].
    policy: Atomic<usize>,
    /// The number of pages that nobody was notified of.
    unnotified: Atomic<u64>,
    announcer: work::Handle<Announcer>,
}

impl Found {
    /// Who is notified: holders that want it, all, nobody.
    pub(crate) const POLICIES: &'static [&'static CStr] = &[c"auto", c"always", c"never"];

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
            news: PageSet::new(namespace.window().inner().pages().len())?,
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

    /// Notes that the holder is to be notified of `pages`, which were good. Called with the lock of
    /// what is bad.
    fn add_news(&self, pages: PageRange<space::Device>, source: Source) {
        record_found(&self.namespace, pages, source);
        self.news.add(pages);
    }

    /// Notes that nobody is to be notified of `pages` as found: the holder is notified of a failure
    /// of them, or they are good. Called with the lock of what is bad, see [`BadMemory`].
    pub(crate) fn forget(&self, pages: PageRange<space::Device>) {
        self.news.remove(pages);
    }

    /// Notifies the holder of pages, [`None`] if it is none to be notified.
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

        // Who adds pages that lie before those at hand queues the item once more.
        while let Some((all, pages)) = rest.and_then(|all| Some((all, self.news.first_in(all)?))) {
            // Before the holder is notified, so that what fails meanwhile is not forgotten.
            self.news.remove(pages);

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

/// Takes errors from those who find them.
#[derive(Clone)]
pub(crate) struct Finder(work::Handle<Found>);

impl Finder {
    pub(crate) fn new(found: work::Handle<Found>) -> Self {
        Self(found)
    }

    /// Lists `range`, and has the holder notified of the pages of it that were good.
    pub(crate) fn add(&self, range: ByteRange<space::Device>, source: Source) {
        let is_listed = self
            .bad
            .add_found(range, |pages| self.add_news(pages, source));

        self.0.queue();
        warn_unless(&self.namespace, is_listed, range);
    }

    /// Lists what the platform knows to be bad, and has the holder notified of the pages of it that
    /// were good.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn add_known(&self, bound: &Bound<'_>) -> Result {
        let result = self.bad.populate(
            |range, list| bound.populate_badblocks(range, list),
            |pages| self.add_news(pages, Source::Platform),
        );

        // Some may have been added before it failed.
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
            "machine check at offset {:#x} length {:#x}, they are bad from now on\n",
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
