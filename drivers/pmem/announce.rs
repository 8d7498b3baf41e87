// SPDX-License-Identifier: GPL-2.0

//! Memory failures as uevents of the disk.

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

/// How long failures wait for others, in milliseconds.
const DELAY: i64 = 1000;

/// How long it is from one uevent to the next, in milliseconds. While failures go on, udev has time
/// for others: whoever waits until it has done all does not wait for ever.
const INTERVAL: i64 = 10_000;

/// Announces failures to udev, those that come together in one uevent.
#[pin_data]
pub(crate) struct Announcer {
    /// As soon as there is one.
    disk: SetOnce<DiskRef>,
    /// The number of failures, and of ranges that were found, that udev does not know of.
    count: Atomic<u64>,
    /// When the last uevent was sent.
    #[pin]
    last: Mutex<Option<Instant<Monotonic>>>,
}

impl Announcer {
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            disk: SetOnce::new(),
            count: Atomic::new(0),
            last <- new_mutex!(None),
        }? Error)
    }

    /// How long the next uevent has to wait.
    fn delay(&self) -> Delta {
        let elapsed = self.last.lock().map(|last| last.elapsed().as_millis());
        let rest = elapsed.map_or(0, |elapsed| INTERVAL.saturating_sub(elapsed));

        Delta::from_millis(rest.max(DELAY))
    }

    /// Failures are uevents of `disk` from now on.
    pub(crate) fn announce_on(&self, disk: DiskRef) {
        self.disk.populate(disk);
    }
}

/// Has a failure, or a range that was found, announced.
pub(crate) fn announce(announcer: &work::Handle<Announcer>) {
    // If it is not the first, the item is queued.
    if announcer.count.fetch_add(1, Relaxed) == 0 {
        announcer.queue_after(announcer.delay());
    }
}

impl work::Item for Announcer {
    fn run(&self) {
        // What comes from now on queues the item once more.
        let count = self.count.xchg(0, Relaxed);
        let Some(disk) = self.disk.as_ref() else {
            return;
        };

        *self.last.lock() = Some(Instant::now());

        let result = CString::try_from_fmt(fmt!("DAXMF_MEMORY_FAILURES={count}"))
            .and_then(|property| disk.notify_change(&property));

        if let Err(error) = result {
            pr_warn!("{count} memory failures cannot be announced to udev: {error:?}\n");
        }
    }
}
