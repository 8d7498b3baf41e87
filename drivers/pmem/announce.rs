// SPDX-License-Identifier: GPL-2.0

//! Announces memory failures to udev, as uevents of the disk.

use daxmf::{
    block::DiskRef,
    work, //
};
use kernel::{
    prelude::*,
    str::CString,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        new_mutex,
        Mutex,
        SetOnce, //
    },
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
};

/// The delay of a uevent after a failure, in milliseconds. Later failures within the delay share
/// the uevent.
const DELAY: i64 = 1000;

/// The minimum time between two uevents, in milliseconds. A steady stream of failures must leave
/// udev time to empty its queue, because `udevadm settle` waits for that.
const INTERVAL: i64 = 10_000;

/// Announces failures to udev. Failures that follow each other closely share a uevent.
#[pin_data]
pub(crate) struct Announcer {
    /// Set after the disk is registered.
    disk: SetOnce<DiskRef>,
    /// The number of failures, and of ranges with found errors, since the item was queued.
    count: Atomic<u64>,
    /// The number of those before, of which no uevent could be sent.
    unsent: Atomic<u64>,
    /// When the last uevent was sent.
    #[pin]
    last: Mutex<Option<Instant<Monotonic>>>,
}

impl Announcer {
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            disk: SetOnce::new(),
            count: Atomic::new(0),
            unsent: Atomic::new(0),
            last <- new_mutex!(None),
        }? Error)
    }

    /// The delay until the next uevent.
    fn delay(&self) -> Delta {
        let elapsed = self.last.lock().map(|last| last.elapsed().as_millis());
        let rest = elapsed.map_or(0, |elapsed| INTERVAL.saturating_sub(elapsed));

        Delta::from_millis(rest.max(DELAY))
    }

    /// Sets the disk whose uevents announce the failures.
    pub(crate) fn announce_on(&self, disk: DiskRef) {
        self.disk.populate(disk);
    }
}

/// Counts a failure or a range with found errors, and schedules its uevent.
pub(crate) fn announce(announcer: &work::Handle<Announcer>) {
    // If the count was not 0, the item is already queued.
    if announcer.count.fetch_add(1, Relaxed) == 0 {
        announcer.queue_after(announcer.delay());
    }
}

impl work::Item for Announcer {
    fn run(&self) {
        // A failure after this exchange queues the item again.
        let queued = self.count.xchg(0, Relaxed);
        let count = queued.saturating_add(self.unsent.xchg(0, Relaxed));
        let Some(disk) = self.disk.as_ref() else {
            self.unsent.fetch_add(count, Relaxed);
            return;
        };

        *self.last.lock() = Some(Instant::now());

        let result = CString::try_from_fmt(fmt!("DAXMF_MEMORY_FAILURES={count}"))
            .and_then(|property| disk.notify_change(&property));

        if let Err(error) = result {
            // The next uevent has their number, too.
            self.unsent.fetch_add(count, Relaxed);
            pr_warn!(
                "{:?}: cannot send a uevent for {count} memory failures: {error:?}\n",
                disk.name()
            );
        }
    }
}
