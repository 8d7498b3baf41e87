// SPDX-License-Identifier: GPL-2.0

//! The devices above.

use daxmf::{
    dax::ReadLock,
    memory_failure::{
        Counters,
        Flags,
        Outcome,
        Reason, //
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

use crate::memory::{
    Frames,
    Mapping, //
};

/// A device above, whose holder is told.
pub(crate) struct Upper {
    mapping: Mapping,
    counters: Arc<Counters>,
}

impl Upper {
    pub(crate) fn new(mapping: Mapping) -> Result<Arc<Self>> {
        let counters = Arc::new(Counters::new(), GFP_KERNEL)?;

        Ok(Arc::new(Self { mapping, counters }, GFP_KERNEL)?)
    }

    pub(crate) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    pub(crate) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Tells the holder of the device of each range that has some of `frames`.
    pub(crate) fn notify(&self, frames: &Frames, flags: Flags, lock: &ReadLock) -> Outcome {
        let mut outcome = Outcome::Declined(Reason::Unused);

        self.mapping.find(frames, lock, |range| {
            let told = self
                .counters
                .count(|| self.mapping.device().notify_failure(range, flags));

            outcome = outcome.and(told);
        });
        outcome
    }
}

/// The devices above one device.
#[pin_data]
pub(crate) struct Uppers {
    #[pin]
    list: Mutex<List>,
}

/// A list whose entries are numbered in the order in which they came.
struct List {
    entries: KVec<(u64, Arc<Upper>)>,
    next: u64,
}

impl Uppers {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            list <- new_mutex!(List {
                entries: KVec::new(),
                next: 0,
            }),
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.lock().entries.is_empty()
    }

    /// Adds a device, until the entry is dropped.
    pub(crate) fn add(self: &Arc<Self>, upper: Arc<Upper>) -> Result<Entry> {
        let mut list = self.list.lock();
        let number = list.next;

        list.entries.push((number, upper), GFP_KERNEL)?;
        list.next = number.checked_add(1).ok_or(EOVERFLOW)?;
        Ok(Entry {
            uppers: self.clone(),
            number,
        })
    }

    /// Tells the holders of all devices above of a failure of `frames`.
    ///
    /// The list is not locked while a holder is told, and nothing is allocated. A device that comes
    /// or goes meanwhile may be told or not.
    pub(crate) fn notify(&self, frames: &Frames, flags: Flags, lock: &ReadLock) -> Outcome {
        let mut outcome = Outcome::Declined(Reason::Unused);
        let mut next = Some(0);

        while let Some((number, upper)) = next.and_then(|next| self.first_from(next)) {
            outcome = outcome.and(upper.notify(frames, flags, lock));
            next = number.checked_add(1);
        }
        outcome
    }

    fn first_from(&self, number: u64) -> Option<(u64, Arc<Upper>)> {
        let list = self.list.lock();
        let entry = list.entries.iter().find(|entry| entry.0 >= number)?;

        Some(entry.clone())
    }
}

/// A device in the list of those above, until it is dropped.
pub(crate) struct Entry {
    uppers: Arc<Uppers>,
    number: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.uppers
            .list
            .lock()
            .entries
            .retain(|entry| entry.0 != self.number);
    }
}
