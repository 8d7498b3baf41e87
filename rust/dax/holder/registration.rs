// SPDX-License-Identifier: GPL-2.0

//! Registering a holder with a DAX device.

use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        global_lock,
        Arc, //
    },
};

use crate::{
    bindings,
    block::OpenDevice,
    dax::Device, //
};

use super::{
    entries::{
        ListedEntry,
        Place,
        OPS, //
    },
    Holder, //
};

/// The registration of a holder with a DAX device. A holder can be registered with several devices.
///
/// The drop frees the device's slot, then waits until the callback is not running. Do not drop a
/// registration in a callback of any holder: the drop waits for all readers of `dax_srcu`, and a
/// callback is such a reader.
pub struct Registration<H: Holder> {
    claim: Claim,
    holder: Arc<H>,
}

impl<H: Holder> Registration<H> {
    /// Registers `holder` with the DAX device of the disk that `device` is, or is a partition of.
    ///
    /// Do not call this in a callback of a holder, or with a [`ReadLock`](crate::dax::ReadLock): if
    /// it fails, it waits for all readers of `dax_srcu`, as the drop does.
    ///
    /// The block device need not stay open. A partition that is not open can be deleted; the holder
    /// is then still notified of failures of that part of the DAX device.
    ///
    /// # Errors
    ///
    /// - `EOPNOTSUPP` if the disk has no DAX.
    /// - `EINVAL` if the start or the size of the partition is not a multiple of the page size.
    /// - `EBUSY` if the DAX device has a holder, even one for another partition.
    /// - `ENXIO` if the device is empty or being removed.
    /// - `ENOMEM` if memory is short.
    pub fn new(device: &OpenDevice, holder: Arc<H>) -> Result<Self> {
        Ok(Self {
            claim: Claim::new(device, holder.clone())?,
            holder,
        })
    }

    /// The held device.
    pub fn device(&self) -> &ARef<Device> {
        &self.claim.device
    }

    /// The holder.
    pub fn holder(&self) -> &Arc<H> {
        &self.holder
    }
}

global_lock! {
    // Held between the check of a slot and the claim, so that no other holder in Rust claims the
    // slot in between. A filesystem in C still can, and then a reference to the device leaks.
    // SAFETY: `Daxmf::init()` calls `init()` before another module can register a holder.
    unsafe(uninit) static CLAIMS: Mutex<()> = ();
}

/// Initializes the lock of the claims.
///
/// # Safety
///
/// Must be called once, before any other function of this module.
pub(super) unsafe fn init() {
    // SAFETY: `init()` is called once, before `CLAIMS` is used, by the safety requirements.
    unsafe { CLAIMS.init() };
}

/// A claimed holder slot of a device. The drop releases it.
///
/// # Invariants
///
/// `fs_dax_get_by_bdev()` stored the address of `entry` in the slot of `device`, and in no other.
// The drop releases the slot first, then the drop of `entry` removes the entry and waits. The
// callback can run until then. It can even start after the release, if
// `dax_holder_notify_failure()` has read the pointer to the callback before.
struct Claim {
    device: ARef<Device>,
    entry: ListedEntry,
}

impl Claim {
    /// Claims the DAX device of a disk.
    ///
    /// # Errors
    ///
    /// - `EBUSY` if the device has a holder, or is dead.
    /// - `ENXIO` if the block device is empty. Its size is 0 while the disk is being removed.
    /// - `ENOMEM` if memory is short.
    fn new(device: &OpenDevice, holder: Arc<dyn Holder>) -> Result<Self> {
        let entry = ListedEntry::new(Place::new(device)?, holder)?;
        // The guard is dropped before `entry`, whose drop waits for callbacks.
        let _guard = CLAIMS.lock();

        // `fs_dax_get_by_bdev()` leaks a reference to the device if the slot is taken, so check
        // first.
        if Device::of(device)?.is_held() {
            return Err(EBUSY);
        }

        // SAFETY: The callback of `OPS` accepts the address of an entry in the table. The drop of
        // `Claim` calls `fs_put_dax()`; then the drop of `entry` waits for the readers of
        // `dax_srcu`.
        let device = unsafe { Device::get_by_bdev(device, entry.as_data(), &OPS) }.ok_or(EBUSY)?;

        // INVARIANT: With a holder, `fs_dax_get_by_bdev()` returns a device only if it has claimed
        // it.
        Ok(Self { device, entry })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // `fs_put_dax()` also drops a reference, so pass it one.
        let device = ARef::into_raw(self.device.clone());

        // SAFETY: The address of `entry` is in the slot of the device by the type invariants,
        // unless `kill_dax()` has cleared the slot, which `fs_put_dax()` allows.
        unsafe { bindings::fs_put_dax(device.as_ptr().cast(), self.entry.as_data()) };
    }
}

#[kunit_tests(daxmf_dax_holder)]
mod tests {
    use core::ptr;

    use kernel::sync::{
        new_mutex,
        Mutex, //
    };

    use crate::{
        dax::{
            holder::{
                is_registered,
                test_disk::{
                    TestDisk,
                    PAGE, //
                },
                Recipients, //
            },
            ReadLock, //
        },
        memory_failure::{
            Flags,
            Outcome,
            Reason, //
        },
        range::{
            space,
            ByteRange, //
        },
    };

    use super::*;

    /// A holder that returns the same outcome for all failures, and records their ranges.
    #[pin_data]
    struct Recorder {
        outcome: Outcome,
        #[pin]
        ranges: Mutex<KVec<ByteRange<space::Volume>>>,
    }

    impl Recorder {
        fn new(outcome: Outcome) -> Result<Arc<Self>> {
            Arc::pin_init(
                pin_init!(Self {
                    outcome,
                    ranges <- new_mutex!(KVec::new()),
                }),
                GFP_KERNEL,
            )
        }

        /// Whether it was notified of exactly these pages since the last call.
        fn recorded(&self, pages: &[(u64, u64)]) -> bool {
            let ranges = core::mem::take(&mut *self.ranges.lock());

            ranges.len() == pages.len()
                && ranges.iter().zip(pages).all(|(range, (first, count))| {
                    (range.start(), range.len()) == (first * PAGE, count * PAGE)
                })
        }
    }

    impl Holder for Recorder {
        fn notify_failure(&self, range: ByteRange<space::Volume>, _flags: Flags) -> Outcome {
            match self.ranges.lock().push(range, GFP_KERNEL) {
                Ok(()) => self.outcome,
                Err(_) => Outcome::Failed(ENOMEM),
            }
        }
    }

    /// A recorder that also handles found errors.
    struct FoundRecorder(Arc<Recorder>);

    impl Holder for FoundRecorder {
        fn notify_failure(&self, range: ByteRange<space::Volume>, flags: Flags) -> Outcome {
            self.0.notify_failure(range, flags)
        }

        fn notify_found(
            &self,
            range: ByteRange<space::Volume>,
            _recipients: Recipients,
        ) -> Option<Outcome> {
            Some(self.notify_failure(range, Flags::NONE))
        }
    }

    #[test]
    fn found_errors_reach_their_recipients() -> Result {
        let disk = TestDisk::new(16, 16)?;
        let recorder = Recorder::new(Outcome::Failed(EIO))?;

        assert_eq!(disk.notify_found(16, Recipients::All)?, None);

        let registration = Registration::new(disk.open(), recorder.clone())?;
        assert_eq!(disk.notify_found(17, Recipients::Willing)?, None);
        assert!(recorder.recorded(&[]));
        assert_eq!(
            disk.notify_found(17, Recipients::All)?,
            Some(Outcome::Failed(EIO))
        );
        assert!(recorder.recorded(&[(1, 1)]));
        drop(registration);

        let found = Arc::new(FoundRecorder(recorder.clone()), GFP_KERNEL)?;
        let registration = Registration::new(disk.open(), found)?;
        assert_eq!(
            disk.notify_found(18, Recipients::Willing)?,
            Some(Outcome::Failed(EIO))
        );
        assert!(recorder.recorded(&[(2, 1)]));
        // Outside its partition.
        assert_eq!(disk.notify_found(15, Recipients::Willing)?, None);
        assert_eq!(disk.notify_found(15, Recipients::All)?, None);
        drop(registration);
        assert_eq!(disk.notify_found(18, Recipients::Willing)?, None);
        assert!(recorder.recorded(&[]));
        Ok(())
    }

    #[test]
    fn refused_claim_does_not_affect_the_first() -> Result {
        let disk = TestDisk::new(0, 16)?;
        let recorder = Recorder::new(Outcome::Delivered)?;
        let first = Registration::new(disk.open(), recorder.clone())?;

        for _ in 0..2 {
            let second = Registration::new(disk.open(), recorder.clone());

            assert_eq!(second.err(), Some(EBUSY));
            assert_eq!(disk.notify_failure(1, 1)?, Outcome::Delivered);
            assert!(recorder.recorded(&[(1, 1)]));
        }

        drop(first);
        assert_eq!(
            disk.notify_failure(1, 1)?,
            Outcome::Declined(Reason::NoHolder)
        );
        assert!(recorder.recorded(&[]));

        let _again = Registration::new(disk.open(), recorder.clone())?;
        assert_eq!(disk.notify_failure(1, 1)?, Outcome::Delivered);
        Ok(())
    }

    #[test]
    fn holder_of_two_devices() -> Result {
        let (one, other) = (TestDisk::new(0, 16)?, TestDisk::new(0, 16)?);
        let recorder = Recorder::new(Outcome::Delivered)?;
        let first = Registration::new(one.open(), recorder.clone())?;
        let _second = Registration::new(other.open(), recorder.clone())?;

        assert_eq!(one.notify_failure(1, 1)?, Outcome::Delivered);
        drop(first);
        assert_eq!(other.notify_failure(2, 1)?, Outcome::Delivered);
        assert_eq!(
            one.notify_failure(3, 1)?,
            Outcome::Declined(Reason::NoHolder)
        );
        assert!(recorder.recorded(&[(1, 1), (2, 1)]));
        Ok(())
    }

    #[test]
    fn ranges_are_relative_to_the_partition() -> Result {
        let unused = Outcome::Declined(Reason::NotSupported);
        let disk = TestDisk::new(16, 16)?;
        let recorder = Recorder::new(Outcome::Delivered)?;
        let _registration = Registration::new(disk.open(), recorder.clone())?;

        // Before the partition, and after it.
        for (first, count) in [(0, 1), (15, 1), (0, 16), (32, 1), (32, 100)] {
            assert_eq!(disk.notify_failure(first, count)?, unused);
        }
        assert!(recorder.recorded(&[]));

        // In the partition, and across its ends.
        for (first, count) in [(16, 1), (31, 1), (16, 16), (15, 2), (31, 2), (0, 100)] {
            assert_eq!(disk.notify_failure(first, count)?, Outcome::Delivered);
        }
        assert!(recorder.recorded(&[(0, 1), (15, 1), (0, 16), (0, 1), (15, 1), (0, 16)]));

        let all = disk
            .device
            .notify_failure(ByteRange::ALL, Flags::MEM_PRE_REMOVE);
        assert_eq!(all, Outcome::Delivered);
        assert!(recorder.recorded(&[(0, 16)]));
        Ok(())
    }

    #[test]
    fn device_that_grows() -> Result {
        let disk = TestDisk::new(0, 16)?;
        let recorder = Recorder::new(Outcome::Delivered)?;
        let _registration = Registration::new(disk.open(), recorder.clone())?;

        disk.resize(32);
        assert_eq!(disk.notify_failure(8, 100)?, Outcome::Delivered);
        // The size is 0 while a disk is being removed.
        disk.resize(0);
        assert_eq!(disk.notify_failure(8, 100)?, Outcome::Delivered);
        assert!(recorder.recorded(&[(8, 24), (8, 8)]));
        Ok(())
    }

    #[test]
    fn empty_device_is_refused() -> Result {
        let disk = TestDisk::new(0, 0)?;
        let recorder = Recorder::new(Outcome::Delivered)?;

        assert_eq!(Registration::new(disk.open(), recorder).err(), Some(ENXIO));
        Ok(())
    }

    #[test]
    fn registration_drops_its_holder() -> Result {
        let disk = TestDisk::new(0, 16)?;
        let recorder = Recorder::new(Outcome::Delivered)?;

        drop(Registration::new(disk.open(), recorder.clone())?);
        assert!(Registration::new(TestDisk::new(0, 0)?.open(), recorder.clone()).is_err());
        assert!(Arc::into_unique_or_drop(recorder).is_some());
        Ok(())
    }

    #[test]
    fn outcomes_pass_through_c() -> Result {
        let not_supported = Outcome::Declined(Reason::NotSupported);
        let disk = TestDisk::new(0, 16)?;

        for (returned, received) in [
            (Outcome::Delivered, Outcome::Delivered),
            (not_supported, not_supported),
            (Outcome::Declined(Reason::Removed), not_supported),
            (Outcome::Failed(EIO), Outcome::Failed(EIO)),
            (Outcome::Failed(ENXIO), Outcome::Failed(ENXIO)),
            (Outcome::Failed(EOPNOTSUPP), Outcome::Failed(EIO)),
        ] {
            let _registration = Registration::new(disk.open(), Recorder::new(returned)?)?;

            assert_eq!(disk.notify_failure(1, 1)?, received);
        }
        Ok(())
    }

    #[test]
    fn foreign_pointer_in_slot_declines() -> Result {
        let disk = TestDisk::new(0, 16)?;
        let foreign = ptr::dangling_mut::<u64>().cast();

        // SAFETY: The callback of `OPS` does not dereference a pointer that is not in the table.
        let device = unsafe { Device::get_by_bdev(disk.open(), foreign, &OPS) }.ok_or(EBUSY)?;
        let outcome = disk.notify_failure(1, 1);

        assert_eq!(disk.notify_found(1, Recipients::Willing)?, None);
        assert!(disk.notify_found(1, Recipients::All)?.is_some());
        // SAFETY: `get_by_bdev()` stored `foreign` in the slot above. `ARef::into_raw()` gives up
        // the reference that `fs_put_dax()` drops.
        unsafe { bindings::fs_put_dax(ARef::into_raw(device).as_ptr().cast(), foreign) };
        assert_eq!(outcome?, Outcome::Declined(Reason::NotSupported));
        Ok(())
    }

    #[test]
    fn entries_are_found_while_listed() -> Result {
        let disk = TestDisk::new(0, 16)?;
        let recorder = Recorder::new(Outcome::Delivered)?;
        let mut all = KVec::new();
        let mut removed = KVec::new();

        // Enough entries that some lists have more than one.
        for _ in 0..64 {
            let place = Place::new(disk.open())?;

            all.push(ListedEntry::new(place, recorder.clone())?, GFP_KERNEL)?;
        }
        for index in (0..32).rev() {
            let listed = all.remove(index * 2)?;

            removed.push(listed.as_data(), GFP_KERNEL)?;
        }

        let _lock = ReadLock::new();
        // SAFETY: `_lock` holds `dax_srcu`.
        let is_found = |data| unsafe { is_registered(data) };

        assert!(all.iter().all(|listed| is_found(listed.as_data())));
        assert!(!removed.into_iter().any(|data| is_found(data)));
        assert!(!is_found(ptr::null_mut()));
        Ok(())
    }
}
