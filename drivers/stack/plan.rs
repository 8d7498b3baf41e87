// SPDX-License-Identifier: GPL-2.0

//! In what order a failure is taken to the devices above one, and what becomes of it.

use daxmf::memory_failure::{
    Counters,
    Outcome, //
};
use kernel::{
    alloc::KVVec,
    prelude::*,
    sync::Arc, //
};

/// The devices above one device, each once and after all that are above it.
pub(crate) struct Plan<D> {
    steps: KVVec<Step<D>>,
    /// To the devices right above the one that the plan is of.
    links: KVVec<Link>,
    /// How many devices are above one another.
    levels: usize,
}

/// A device of a plan.
pub(crate) struct Step<D> {
    pub(crate) device: Arc<D>,
    /// How many devices are above one another, above this one.
    pub(crate) levels: usize,
    /// Of the failures of the device, if others are above it.
    pub(crate) received: Option<Arc<Counters>>,
    /// To the devices right above it.
    pub(crate) links: KVVec<Link>,
}

/// To a device right above another.
pub(crate) struct Link {
    pub(crate) step: usize,
    pub(crate) counters: Arc<Counters>,
}

impl<D> Plan<D> {
    /// The plan of the device that `lowest` is, with all that are above it as `steps`.
    pub(crate) fn new(steps: KVVec<Step<D>>, lowest: Step<D>) -> Self {
        Self {
            steps,
            links: lowest.links,
            levels: lowest.levels,
        }
    }

    /// Whether this device is one of those above.
    pub(crate) fn has(&self, device: &Arc<D>) -> bool {
        self.steps
            .iter()
            .any(|step| Arc::ptr_eq(&step.device, device))
    }

    /// Takes a failure to all devices above.
    ///
    /// `notify` notifies the holder of a device on top, and returns [`None`] if the failure has no
    /// part in it. `has` says whether it has one in a device between. `unused` becomes of it in a
    /// device above which no holder was notified; without it, that is as if it had no part there.
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

        // Nobody has to wait for memory in order to be notified. Without it, what became of the
        // failure in one device is taken to be what became of it in all.
        let outcomes = KVVec::with_capacity(self.steps.len(), GFP_NOWAIT);
        let mut outcomes: KVVec<Option<Outcome>> = outcomes.unwrap_or_default();
        let mut all = unused;

        for step in &self.steps {
            let outcome = match &step.received {
                None => notify(&step.device).inspect(|outcome| {
                    all = Some(all.map_or(*outcome, |all| all.and(*outcome)));
                }),
                Some(received) => has(&step.device)
                    .then(|| combine(&step.links, &outcomes, all).or(unused))
                    .flatten()
                    .map(|outcome| received.count(|| outcome)),
            };
            let _ = outcomes.push_within_capacity(outcome);
        }
        combine(&self.links, &outcomes, all).or(unused)
    }
}

/// What became of a failure in the devices that `links` lead to, each of which counts it. [`None`]
/// if it has no part in any of them.
///
/// `all` stands for an outcome that is not there.
fn combine(links: &[Link], outcomes: &[Option<Outcome>], all: Option<Outcome>) -> Option<Outcome> {
    links
        .iter()
        .filter_map(|link| {
            let outcome = outcomes.get(link.step).copied().unwrap_or(all)?;

            Some(link.counters.count(|| outcome))
        })
        .reduce(Outcome::and)
}
