// SPDX-License-Identifier: GPL-2.0

//! The order in which a failure is forwarded to the devices above, and the combined outcome.

use daxmf::memory_failure::{
    Counters,
    Outcome, //
};
use kernel::{
    alloc::KVVec,
    prelude::*,
    sync::Arc, //
};

/// The devices above one device. Each is listed once, after all devices above it.
pub(crate) struct Plan<D> {
    steps: KVVec<Step<D>>,
    /// The links to the devices directly above the device of the plan.
    links: KVVec<Link>,
    /// The number of levels above the device of the plan.
    levels: usize,
}

/// A device of a plan.
pub(crate) struct Step<D> {
    pub(crate) device: Arc<D>,
    /// The number of levels above this device.
    pub(crate) levels: usize,
    /// Counts the failures of the device, if others are above it.
    pub(crate) own_counters: Option<Arc<Counters>>,
    /// The links to the devices directly above this one.
    pub(crate) links: KVVec<Link>,
}

/// A link to a device directly above another.
pub(crate) struct Link {
    /// The index of the upper device in the plan.
    pub(crate) step: usize,
    /// Counts the failures that have a part in the upper device.
    pub(crate) counters: Arc<Counters>,
}

impl<D> Plan<D> {
    /// Creates the plan of the device of `lowest`, with the devices above it as `steps`.
    pub(crate) fn new(steps: KVVec<Step<D>>, lowest: Step<D>) -> Self {
        Self {
            steps,
            links: lowest.links,
            levels: lowest.levels,
        }
    }

    /// Whether `device` is in the plan.
    pub(crate) fn has(&self, device: &Arc<D>) -> bool {
        self.steps
            .iter()
            .any(|step| Arc::ptr_eq(&step.device, device))
    }

    /// Forwards a failure to all devices above, and returns the combined outcome.
    ///
    /// `notify` notifies the holder of a topmost device. It returns [`None`] if the failure has no
    /// part in the device, or if no holder was notified. `has` returns whether the failure has a
    /// part in a device between the failed device and the topmost ones.
    ///
    /// `unused` is the outcome for a device above which no holder was notified. If `unused` is
    /// [`None`], such a device does not count the failure.
    pub(crate) fn run(
        &self,
        notify: impl Fn(&D) -> Option<Outcome>,
        has: impl Fn(&D) -> bool,
        unused: Option<Outcome>,
    ) -> Option<Outcome> {
        if self.levels == 1 {
            return self
                .links
                .iter()
                .filter_map(|link| {
                    let outcome = notify(&self.steps.get(link.step)?.device)?;

                    Some(link.counters.count(|| outcome))
                })
                .reduce(Outcome::and)
                .or(unused);
        }

        // The allocation does not wait, because it must not delay a notification. If it fails, each
        // device that is not topmost counts the combined outcome of all devices so far.
        let outcomes = KVVec::with_capacity(self.steps.len(), GFP_NOWAIT);
        let mut outcomes: KVVec<Option<Outcome>> = outcomes.unwrap_or_default();
        let mut all = unused;

        for step in &self.steps {
            let outcome = match &step.own_counters {
                None => notify(&step.device).inspect(|outcome| {
                    all = Some(all.map_or(*outcome, |all| all.and(*outcome)));
                }),
                Some(counters) => has(&step.device)
                    .then(|| combine(&step.links, &outcomes, all).or(unused))
                    .flatten()
                    .map(|outcome| counters.count(|| outcome)),
            };
            let _ = outcomes.push_within_capacity(outcome);
        }
        combine(&self.links, &outcomes, all).or(unused)
    }
}

/// Combines the outcomes of the devices that `links` lead to. The counters of each link count the
/// outcome of its device. Returns [`None`] if none of the devices has an outcome.
///
/// `outcomes` is empty if memory was short. Then `all` replaces each outcome.
fn combine(links: &[Link], outcomes: &[Option<Outcome>], all: Option<Outcome>) -> Option<Outcome> {
    links
        .iter()
        .filter_map(|link| {
            let outcome = outcomes.get(link.step).copied().unwrap_or(all)?;

            Some(link.counters.count(|| outcome))
        })
        .reduce(Outcome::and)
}
