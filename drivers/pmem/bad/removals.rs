// SPDX-License-Identifier: GPL-2.0

//! Removals of failed memory from the linear map.

use daxmf::{
    pagemap::Removal,
    range::{
        space,
        ByteRange, //
    }, //
};
use kernel::{
    prelude::*,
    time::{
        delay::fsleep,
        Delta, //
    },
};

use super::BadMemory;

/// The number of failures that are remembered.
const RECENT: usize = 8;

/// The number of times that a repair waits, because its range can fail again meanwhile.
const WAITS: usize = 3;

/// The failures of memory that the machine check handler removes from the linear map after their
/// notification. A repair makes the memory present again, so it must not come before that.
pub(super) struct Removals {
    /// The failure whose notification is running. `memory_failure()` handles one failure at a time
    /// (`mf_mutex`).
    notified: Option<ByteRange<space::Device>>,
    /// The last failures, with the removals of their memory. The last one is first.
    recent: [Option<(ByteRange<space::Device>, Removal)>; RECENT],
    /// The removal of the last failure that is not in `recent` any more.
    forgotten: Option<Removal>,
}

impl Removals {
    pub(super) const fn new() -> Self {
        Self {
            notified: None,
            recent: [None; RECENT],
            forgotten: None,
        }
    }

    /// Notes that the notification of a failure of `range` starts.
    pub(super) fn start(&mut self, range: ByteRange<space::Device>) {
        self.notified = Some(range);
    }

    /// Notes that the notification has ended.
    fn end(&mut self) {
        if let Some(range) = self.notified.take() {
            self.recent.rotate_right(1);
            if let Some(first) = self.recent.first_mut() {
                let last = first.replace((range, Removal::begin()));

                self.forgotten = last.map(|(_, removal)| removal).or(self.forgotten);
            }
        }
    }

    /// The time until the handler has removed all memory of `range` that has failed.
    ///
    /// # Errors
    ///
    /// - `EIO` if a notification for a part of the range is running.
    fn time_left(&self, range: ByteRange<space::Device>) -> Result<Delta> {
        if self.notified.is_some_and(|it| it.clip(range).is_some()) {
            return Err(EIO);
        }

        let found = self
            .recent
            .iter()
            .flatten()
            .find(|(failed, _)| failed.clip(range).is_some());
        let removal = found.map(|(_, removal)| *removal).or(self.forgotten);

        Ok(removal.map_or(Delta::ZERO, Removal::time_left))
    }
}

impl BadMemory {
    /// Notes that the notification of the last failure has ended.
    pub(crate) fn end_notification(&self) {
        self.removals.lock().end();
    }

    /// Waits until the machine check handler has removed all memory of `range` that has failed.
    ///
    /// Does not wait for a notification: the holder can wait in it for a lock of the caller.
    ///
    /// # Errors
    ///
    /// - `EIO` if a notification for a part of the range is running, or if the range fails again
    ///   and again.
    pub(super) fn wait_for_removals(&self, range: ByteRange<space::Device>) -> Result {
        for _ in 0..WAITS {
            let rest = self.removals.lock().time_left(range)?;

            if rest <= Delta::ZERO {
                return Ok(());
            }
            fsleep(rest);
        }
        Err(EIO)
    }
}
