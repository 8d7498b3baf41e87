// SPDX-License-Identifier: GPL-2.0

//! The log of memory failures, which processes read from `/dev/daxmf`.
//!
//! Drivers record events of memory failures and bad memory. The log stores the last 4096 events. A
//! reader that falls behind gets the number of events that were overwritten before it read them.

mod device;
mod record;

pub(crate) use self::device::LogDevice;
pub use self::record::{
    Event,
    Source, //
};

use core::ptr;

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        new_spinlock,
        poll::PollCondVar,
        Arc,
        SetOnce,
        SpinLock, //
    },
    time::{
        ClockSource,
        RealTime, //
    },
};

use self::record::Record;
use crate::range::{
    space,
    ByteRange, //
};

/// The number of events that the log stores.
const CAPACITY: usize = 4096;

/// The log. `LogOwner::new()` sets it when the module is initialized.
static LOG: SetOnce<Arc<Log>> = SetOnce::new();

/// Records an event of `range` of the disk with the kernel's name `disk`.
///
/// Call this in process context only: the lock of the log does not disable interrupts.
///
/// # Examples
///
/// ```
/// use daxmf::{
///     events::{self, Event},
///     range::ByteRange,
/// };
///
/// let page = ByteRange::new(0x1000, 0x1000).ok_or(EINVAL)?;
///
/// events::record(c"pmem0", page, Event::Cleared);
/// # Ok::<(), Error>(())
/// ```
pub fn record(disk: &CStr, range: ByteRange<space::Device>, event: Event) {
    let record = Record::new(RealTime::ktime_get(), disk, range, event);

    record.trace();
    if let Some(log) = LOG.as_ref() {
        log.add(record);
    }
}

/// The log and its device. The drop removes both.
// The order of the fields matters: the drop removes the device before it frees the log.
pub(crate) struct Registration {
    _device: LogDevice,
    _log: LogOwner,
}

impl Registration {
    /// Creates the log, and registers its device.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    /// - `EEXIST` if there is another device of this name.
    ///
    /// # Safety
    ///
    /// Must be called once, when the module is initialized. The returned value must not be dropped
    /// before the module is unloaded or its initialization fails.
    pub(crate) unsafe fn new(module: &'static ThisModule) -> Result<Self> {
        // SAFETY: `LogOwner::new()` has the same safety requirements as this function.
        let log = unsafe { LogOwner::new() }?;

        Ok(Self {
            _device: LogDevice::new(module)?,
            _log: log,
        })
    }
}

/// The owner of the content of [`LOG`]. Its drop frees the content, because the kernel does not
/// drop statics.
///
/// # Invariants
///
/// No code uses [`LOG`] after this has been dropped.
struct LogOwner(());

impl LogOwner {
    /// Creates the log.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    ///
    /// # Safety
    ///
    /// Must be called once. The returned value must not be dropped before the module is unloaded or
    /// its initialization fails.
    unsafe fn new() -> Result<Self> {
        LOG.populate(Log::new(CAPACITY)?);
        // INVARIANT: Modules that record events, and open files of the device, have a reference to
        // this module. So the value is dropped after the last use of `LOG`.
        Ok(Self(()))
    }
}

impl Drop for LogOwner {
    fn drop(&mut self) {
        if let Some(log) = LOG.as_ref() {
            // SAFETY: No code uses `LOG` afterwards by the type invariants, so this can move the
            // `Arc` out of it.
            drop(unsafe { ptr::read(log) });
        }
    }
}

/// The last events, in order.
#[pin_data]
struct Log {
    #[pin]
    ring: SpinLock<Ring>,
    /// Notified after each event, if there are readers.
    #[pin]
    changed: PollCondVar,
    /// The number of readers.
    readers: Atomic<u64>,
}

/// The next item for a reader.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Next {
    Record(Record),
    /// The number of events that were overwritten before the reader read them.
    Missed(u64),
}

impl Log {
    fn new(capacity: usize) -> Result<Arc<Self>> {
        let ring = Ring::new(capacity)?;

        Arc::pin_init(
            pin_init!(Self {
                ring <- new_spinlock!(ring),
                changed <- kernel::new_poll_condvar!(),
                readers: Atomic::new(0),
            }),
            GFP_KERNEL,
        )
    }

    fn add(&self, record: Record) {
        self.ring.lock().add(record);
        // `Reader::new()` counts a reader before the reader checks the ring. A reader that waits
        // has checked the ring under its lock, and found no event. This thread took that lock
        // later, so this load sees the count.
        if self.readers.load(Relaxed) != 0 {
            self.changed.notify_all();
        }
    }
}

/// The records of the last events.
struct Ring {
    /// The record of the event number `n` is at index `n % capacity`.
    records: KVVec<Record>,
    capacity: usize,
    /// The number of the next event. The first event has number 0.
    next: u64,
}

impl Ring {
    fn new(capacity: usize) -> Result<Self> {
        Ok(Self {
            records: KVVec::with_capacity(capacity, GFP_KERNEL)?,
            capacity,
            next: 0,
        })
    }

    fn add(&mut self, record: Record) {
        match self.records.push_within_capacity(record) {
            Ok(()) => {}
            Err(_) => {
                if let Some(oldest) = self.index(self.next).and_then(|i| self.records.get_mut(i)) {
                    *oldest = record;
                }
            }
        }
        self.next = self.next.wrapping_add(1);
    }

    /// Returns the index of an event's record. A newer event may have overwritten the record.
    fn index(&self, number: u64) -> Option<usize> {
        // CAST: A `usize` has 64 bits here, and the remainder is less than `capacity`.
        number
            .checked_rem(self.capacity as u64)
            .map(|index| index as usize)
    }

    /// Returns the next item for a reader that has read all events before `number`, or [`None`] if
    /// there is no newer event.
    fn at(&self, number: u64) -> Option<Next> {
        // CAST: A `usize` has 64 bits here.
        let oldest = self.next.saturating_sub(self.records.len() as u64);

        match oldest.checked_sub(number) {
            Some(missed) if missed > 0 => Some(Next::Missed(missed)),
            _ if number >= self.next => None,
            _ => {
                let record = self.records.get(self.index(number)?)?;

                Some(Next::Record(*record))
            }
        }
    }
}

#[kunit_tests(daxmf_events)]
mod tests {
    use super::*;

    fn page(number: u64) -> Result<Record> {
        let range = ByteRange::new(number << 12, 1 << 12).ok_or(EINVAL)?;

        Ok(Record::new(0, c"pmem0", range, Event::Cleared))
    }

    #[test]
    fn stores_the_last_events_in_order() -> Result {
        let mut ring = Ring::new(3)?;

        assert_eq!(ring.at(0), None);
        for number in 0..3 {
            ring.add(page(number)?);
        }
        for number in 0..3 {
            assert_eq!(ring.at(number), Some(Next::Record(page(number)?)));
        }
        assert_eq!(ring.at(3), None);

        for number in 3..8 {
            ring.add(page(number)?);
        }
        assert_eq!(ring.at(0), Some(Next::Missed(5)));
        assert_eq!(ring.at(4), Some(Next::Missed(1)));
        for number in 5..8 {
            assert_eq!(ring.at(number), Some(Next::Record(page(number)?)));
        }
        assert_eq!(ring.at(8), None);
        Ok(())
    }
}
