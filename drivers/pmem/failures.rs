// SPDX-License-Identifier: GPL-2.0

//! Notifies the holder of memory failures in the page frames of a namespace.

use daxmf::{
    dax::device::Control,
    events::{
        self,
        Event, //
    },
    memory_failure::{
        Counters,
        Flags,
        Outcome, //
    },
    nvdimm::Namespace,
    pagemap::{
        self,
        Frames, //
    },
    range::{
        space,
        ByteRange, //
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
    found::{
        self,
        Finder, //
    },
};

/// Receives the memory failures of a namespace.
///
/// It exists before the pages of the namespace, and outlives them. So there is a receiver whenever
/// a page fails.
pub(crate) struct Failures {
    namespace: Arc<Namespace>,
    control: Control,
    bad: Arc<BadMemory>,
    found: Finder,
    announcer: work::Handle<Announcer>,
    lists_simulated: Atomic<bool>,
}

impl Failures {
    pub(crate) fn new(
        namespace: Arc<Namespace>,
        control: Control,
        bad: Arc<BadMemory>,
        found: Finder,
        announcer: work::Handle<Announcer>,
    ) -> Self {
        Self {
            namespace,
            control,
            bad,
            found,
            announcer,
            lists_simulated: Atomic::new(false),
        }
    }

    pub(crate) fn counters(&self) -> &Counters {
        self.found.counters()
    }

    pub(crate) fn found(&self) -> &Finder {
        &self.found
    }

    pub(crate) fn control(&self) -> &Control {
        &self.control
    }

    /// Whether simulated failures make memory bad, too.
    pub(crate) fn lists_simulated(&self) -> bool {
        self.lists_simulated.load(Relaxed)
    }

    pub(crate) fn set_lists_simulated(&self, enabled: bool) {
        self.lists_simulated.store(enabled, Relaxed);
    }

    /// Adds `range`, which failed, to the bad ranges, then notifies the holder.
    fn handle(&self, frames: Frames<'_>, range: ByteRange<space::Device>, flags: Flags) -> Outcome {
        // The machine check handler removes the frame from the linear map after this method has
        // returned.
        let is_removed = !flags.contains(Flags::SW_SIMULATED);

        if is_removed || self.lists_simulated() {
            // Do not wait for the platform, which can report the same failure only later. A repair
            // can have cleared the mark of the frame since the page map has set it.
            let is_listed = self.bad.add_failed(range, is_removed, || {
                frames.set_poisoned();
                self.found.remove_pending(range.pages());
            });

            found::warn_if_unlisted(&self.namespace, is_listed, range);
        }

        let outcome = self.control.notify_failure(range, flags);

        if is_removed {
            self.bad.end_notification();
        }
        outcome
    }
}

impl pagemap::Operations for Failures {
    fn memory_failure(&self, frames: Frames<'_>, flags: Flags) -> Outcome {
        let range = frames
            .range()
            .bytes()
            .and_then(|bytes| self.namespace.window().inward(bytes));

        let Some(range) = range else {
            return self.counters().count(|| Outcome::Failed(ENXIO));
        };

        let outcome = self.counters().count(|| self.handle(frames, range, flags));

        events::record(
            self.namespace.disk_name(),
            range,
            Event::Failure(flags, outcome),
        );
        announce(&self.announcer);
        if outcome != Outcome::Delivered {
            dev_warn!(
                self.namespace.device(),
                "memory failure at offset {:#x} length {:#x}: {outcome}\n",
                range.start(),
                range.len()
            );
        }
        outcome
    }
}
