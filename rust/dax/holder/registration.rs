// SPDX-License-Identifier: GPL-2.0

//! Registering a holder with a DAX device.

use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
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
        Listed,
        Place,
        OPS, //
    },
    Holder, //
};

/// The registration of a holder with a DAX device. A holder may have several, of different devices.
///
/// When dropped, the device's slot is free again, and the drop waits until the callback is not
/// running. So it must not happen in a callback.
pub struct Registration<H: Holder> {
    claim: Claim,
    holder: Arc<H>,
}

impl<H: Holder> Registration<H> {
    /// Registers `holder` with the DAX device of the disk that `device` is, or is a partition of.
    ///
    /// The block device need not stay open. A partition that nobody has open can be deleted; the
    /// holder keeps its part of the DAX device then.
    ///
    /// # Errors
    ///
    /// - `EOPNOTSUPP` if the disk has no DAX.
    /// - `EINVAL` if the start or the size of the partition is not a multiple of the page size.
    /// - `EBUSY` if the DAX device has a holder, also if that holds another partition.
    /// - `ENXIO` if the device is empty or being removed.
    /// - `ENOMEM` if memory is short.
    pub fn new(device: &OpenDevice, holder: Arc<H>) -> Result<Self> {
        // `fs_dax_get_by_bdev()` leaks a reference to the device if the slot is taken, so look
        // first. What remains is the race of two claims.
        if Device::of(device)?.is_held() {
            return Err(EBUSY);
        }

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

/// The holder slot of a device, given up when dropped.
///
/// # Invariants
///
/// The address of `entry` was put in the slot of `device`, and in no other.
// When this is dropped, the slot is given up before `entry` is removed and waited for. The callback
// may be running then, and may even start after that, if it was picked up before.
struct Claim {
    device: ARef<Device>,
    entry: Listed,
}

impl Claim {
    /// Claims the DAX device of a disk.
    ///
    /// # Errors
    ///
    /// - `EBUSY` if it has a holder.
    /// - `ENXIO` if it is empty or being removed.
    /// - `ENOMEM` if memory is short.
    fn new(device: &OpenDevice, holder: Arc<dyn Holder>) -> Result<Self> {
        let entry = Listed::new(Place::new(device)?, holder)?;

        // SAFETY: The callback of `OPS` accepts the address of an entry that is listed. `entry`
        // is dropped after `fs_put_dax()` was called, and waits for the readers of `dax_srcu`.
        let device = unsafe { Device::get_by_bdev(device, entry.as_data(), &OPS) }.ok_or(EBUSY)?;

        // INVARIANT: With a holder, `fs_dax_get_by_bdev()` returns a device that it could claim.
        Ok(Self { device, entry })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // `fs_put_dax()` drops a reference with the claim.
        let device = ARef::into_raw(self.device.clone());

        // SAFETY: By the type invariants, the address of `entry` is the holder of the device,
        // unless the device was killed in between, which `fs_put_dax()` allows.
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

    /// Gives the same answer to all failures, and keeps what it has heard.
    #[pin_data]
    struct Ear {
        answer: Outcome,
        #[pin]
        heard: Mutex<KVec<ByteRange<space::Volume>>>,
    }

    impl Ear {
        fn new(answer: Outcome) -> Result<Arc<Self>> {
            Arc::pin_init(
                pin_init!(Self {
                    answer,
                    heard <- new_mutex!(KVec::new()),
                }),
                GFP_KERNEL,
            )
        }

        /// Whether it has heard of just these pages since it was last asked.
        fn heard(&self, pages: &[(u64, u64)]) -> bool {
            let heard = core::mem::take(&mut *self.heard.lock());

            heard.len() == pages.len()
                && heard.iter().zip(pages).all(|(range, (first, count))| {
                    (range.start(), range.len()) == (first * PAGE, count * PAGE)
                })
        }
    }

    impl Holder for Ear {
        fn notify_failure(&self, range: ByteRange<space::Volume>, _flags: Flags) -> Outcome {
            match self.heard.lock().push(range, GFP_KERNEL) {
                Ok(()) => self.answer,
                Err(_) => Outcome::Failed(ENOMEM),
            }
        }
    }

    /// An ear that wants what was found.
    struct SharpEar(Arc<Ear>);

    impl Holder for SharpEar {
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
    fn found_is_for_those_who_want_it() -> Result {
        let disk = TestDisk::new(16, 16)?;
        let ear = Ear::new(Outcome::Failed(EIO))?;

        assert_eq!(disk.find(16, Recipients::All)?, None);

        let registration = Registration::new(disk.open(), ear.clone())?;
        assert_eq!(disk.find(17, Recipients::Willing)?, None);
        assert!(ear.heard(&[]));
        assert_eq!(disk.find(17, Recipients::All)?, Some(Outcome::Failed(EIO)));
        assert!(ear.heard(&[(1, 1)]));
        drop(registration);

        let sharp = Arc::new(SharpEar(ear.clone()), GFP_KERNEL)?;
        let registration = Registration::new(disk.open(), sharp)?;
        assert_eq!(
            disk.find(18, Recipients::Willing)?,
            Some(Outcome::Failed(EIO))
        );
        assert!(ear.heard(&[(2, 1)]));
        // Not in its partition.
        assert_eq!(disk.find(15, Recipients::Willing)?, None);
        assert_eq!(disk.find(15, Recipients::All)?, None);
        drop(registration);
        assert_eq!(disk.find(18, Recipients::Willing)?, None);
        assert!(ear.heard(&[]));
        Ok(())
    }

    #[test]
    fn refused_leaves_first() -> Result {
        let disk = TestDisk::new(0, 16)?;
        let ear = Ear::new(Outcome::Delivered)?;
        let first = Registration::new(disk.open(), ear.clone())?;

        for _ in 0..2 {
            let second = Registration::new(disk.open(), ear.clone());

            assert_eq!(second.err(), Some(EBUSY));
            assert_eq!(disk.fail(1, 1)?, Outcome::Delivered);
            assert!(ear.heard(&[(1, 1)]));
        }

        drop(first);
        assert_eq!(disk.fail(1, 1)?, Outcome::Declined(Reason::NoHolder));
        assert!(ear.heard(&[]));

        let _again = Registration::new(disk.open(), ear.clone())?;
        assert_eq!(disk.fail(1, 1)?, Outcome::Delivered);
        Ok(())
    }

    #[test]
    fn holder_of_two_devices() -> Result {
        let (one, other) = (TestDisk::new(0, 16)?, TestDisk::new(0, 16)?);
        let ear = Ear::new(Outcome::Delivered)?;
        let first = Registration::new(one.open(), ear.clone())?;
        let _second = Registration::new(other.open(), ear.clone())?;

        assert_eq!(one.fail(1, 1)?, Outcome::Delivered);
        drop(first);
        assert_eq!(other.fail(2, 1)?, Outcome::Delivered);
        assert_eq!(one.fail(3, 1)?, Outcome::Declined(Reason::NoHolder));
        assert!(ear.heard(&[(1, 1), (2, 1)]));
        Ok(())
    }

    #[test]
    fn ranges_are_of_the_partition() -> Result {
        let unused = Outcome::Declined(Reason::NotSupported);
        let disk = TestDisk::new(16, 16)?;
        let ear = Ear::new(Outcome::Delivered)?;
        let _registration = Registration::new(disk.open(), ear.clone())?;

        // Before it, and behind it.
        for (first, count) in [(0, 1), (15, 1), (0, 16), (32, 1), (32, 100)] {
            assert_eq!(disk.fail(first, count)?, unused);
        }
        assert!(ear.heard(&[]));

        // In it, and over its edges.
        for (first, count) in [(16, 1), (31, 1), (16, 16), (15, 2), (31, 2), (0, 100)] {
            assert_eq!(disk.fail(first, count)?, Outcome::Delivered);
        }
        assert!(ear.heard(&[(0, 1), (15, 1), (0, 16), (0, 1), (15, 1), (0, 16)]));

        let all = disk
            .device
            .notify_failure(ByteRange::ALL, Flags::MEM_PRE_REMOVE);
        assert_eq!(all, Outcome::Delivered);
        assert!(ear.heard(&[(0, 16)]));
        Ok(())
    }

    #[test]
    fn device_that_grows() -> Result {
        let disk = TestDisk::new(0, 16)?;
        let ear = Ear::new(Outcome::Delivered)?;
        let _registration = Registration::new(disk.open(), ear.clone())?;

        disk.resize(32);
        assert_eq!(disk.fail(8, 100)?, Outcome::Delivered);
        // As when it is removed.
        disk.resize(0);
        assert_eq!(disk.fail(8, 100)?, Outcome::Delivered);
        assert!(ear.heard(&[(8, 24), (8, 8)]));
        Ok(())
    }

    #[test]
    fn empty_device_is_refused() -> Result {
        let disk = TestDisk::new(0, 0)?;
        let ear = Ear::new(Outcome::Delivered)?;

        assert_eq!(Registration::new(disk.open(), ear).err(), Some(ENXIO));
        Ok(())
    }

    #[test]
    fn holder_goes_with_registration() -> Result {
        let disk = TestDisk::new(0, 16)?;
        let ear = Ear::new(Outcome::Delivered)?;

        drop(Registration::new(disk.open(), ear.clone())?);
        assert!(Registration::new(TestDisk::new(0, 0)?.open(), ear.clone()).is_err());
        assert!(Arc::into_unique_or_drop(ear).is_some());
        Ok(())
    }

    #[test]
    fn answers_arrive() -> Result {
        let not_supported = Outcome::Declined(Reason::NotSupported);
        let disk = TestDisk::new(0, 16)?;

        for (answer, arrives) in [
            (Outcome::Delivered, Outcome::Delivered),
            (not_supported, not_supported),
            (Outcome::Declined(Reason::Removed), not_supported),
            (Outcome::Failed(EIO), Outcome::Failed(EIO)),
            (Outcome::Failed(ENXIO), Outcome::Failed(ENXIO)),
            (Outcome::Failed(EOPNOTSUPP), Outcome::Failed(EIO)),
        ] {
            let _registration = Registration::new(disk.open(), Ear::new(answer)?)?;

            assert_eq!(disk.fail(1, 1)?, arrives);
        }
        Ok(())
    }

    #[test]
    fn slot_of_somebody_else() -> Result {
        let disk = TestDisk::new(0, 16)?;
        let foreign = ptr::dangling_mut::<u64>().cast();

        // SAFETY: The callback does not follow the pointer: there is no entry there.
        let device = unsafe { Device::get_by_bdev(disk.open(), foreign, &OPS) }.ok_or(EBUSY)?;
        let outcome = disk.fail(1, 1);

        assert_eq!(disk.find(1, Recipients::Willing)?, None);
        assert!(disk.find(1, Recipients::All)?.is_some());
        // SAFETY: `foreign` was put in the slot above. `ARef::into_raw()` gives up the reference.
        unsafe { bindings::fs_put_dax(ARef::into_raw(device).as_ptr().cast(), foreign) };
        assert_eq!(outcome?, Outcome::Declined(Reason::NotSupported));
        Ok(())
    }

    #[test]
    fn entries_are_found_while_listed() -> Result {
        let disk = TestDisk::new(0, 16)?;
        let ear = Ear::new(Outcome::Delivered)?;
        let mut all = KVec::new();
        let mut gone = KVec::new();

        // So many that some are in one list.
        for _ in 0..64 {
            let place = Place::new(disk.open())?;

            all.push(Listed::new(place, ear.clone())?, GFP_KERNEL)?;
        }
        for index in (0..32).rev() {
            let listed = all.remove(index * 2)?;

            gone.push(listed.as_data(), GFP_KERNEL)?;
        }

        let _lock = ReadLock::new();
        // SAFETY: `_lock` is held.
        let is_found = |data| unsafe { is_registered(data) };

        assert!(all.iter().all(|listed| is_found(listed.as_data())));
        assert!(!gone.into_iter().any(|data| is_found(data)));
        assert!(!is_found(ptr::null_mut()));
        Ok(())
    }
}
