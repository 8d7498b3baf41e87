// SPDX-License-Identifier: GPL-2.0

//! The consumer's side of a DAX device.
//!
//! A device has one slot for a holder: a filesystem, or a stacked device. The kernel notifies the
//! holder of memory failures of the device, and before the device goes.
//!
//! C keeps no promise about when a holder's callback may still run: `fs_put_dax()` waits for
//! nobody. [`Registration`] does: once it is dropped, the callback is not running and never will.

use core::ptr;

use kernel::{
    error::from_result,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        global_lock,
        Arc, //
    },
};

use crate::{
    bindings,
    block::{
        BlockDeviceRef,
        OpenDevice, //
    },
    memory_failure::{
        Flags,
        Outcome,
        Reason, //
    },
    range::{
        space,
        ByteRange,
        Window, //
    },
};

use super::{
    device::Alive,
    Device, //
};

/// A consumer that is notified of memory failures.
///
/// # Examples
///
/// A holder that takes every failure and does nothing about it:
///
/// ```
/// use daxmf::{
///     block::DeviceFile,
///     dax::{holder::Registration, Holder},
///     memory_failure::{Flags, Outcome},
///     range::{space, ByteRange},
/// };
/// use kernel::sync::Arc;
///
/// struct Indifferent;
///
/// impl Holder for Indifferent {
///     fn notify_failure(&self, _range: ByteRange<space::Volume>, _flags: Flags) -> Outcome {
///         Outcome::Delivered
///     }
/// }
///
/// /// Claims a device; it is held until the registration is dropped.
/// fn claim(path: &CStr) -> Result<Registration<Indifferent>> {
///     let file = DeviceFile::open(path)?;
///
///     Registration::new(&file, Arc::new(Indifferent, GFP_KERNEL)?)
/// }
/// ```
pub trait Holder: Send + Sync + 'static {
    /// Handles a memory failure of `range` of the block device that was registered.
    ///
    /// The range lies within that block device, be it a disk or a partition, also if it has grown.
    /// Failures of other parts of the disk do not come here. With [`Flags::MEM_PRE_REMOVE`] it is
    /// the memory that is about to go: all of the block device, or the part of a mapped device
    /// that lies on a disk which goes.
    ///
    /// Called in process context under the read side of `dax_srcu`: it may sleep and may notify
    /// another device's holder, but it must not wait for a memory failure or for a DAX device to
    /// go. So it must not drop a [`Registration`], of either side. For a failure that somebody has
    /// hit, it is called under the kernel's one `mf_mutex`, too; other calls may come at the same
    /// time.
    ///
    /// The outcome passes through C as an errno, so a [`Reason`] is lost on the way: whoever
    /// notified the holder sees [`Reason::NotSupported`].
    fn notify_failure(&self, range: ByteRange<space::Volume>, flags: Flags) -> Outcome;

    /// Handles errors in `range` that were found, by a scrub or a failed read, and that no process
    /// has hit. Returns [`None`] if it wants none such.
    ///
    /// A holder that treats them like failures calls [`notify_failure()`](Self::notify_failure)
    /// with [`Flags::NONE`]. Without this method it gets them as such when
    /// [`Recipients::All`] do.
    ///
    /// Called as [`notify_failure()`](Self::notify_failure) is, from a work item.
    fn notify_found(
        &self,
        range: ByteRange<space::Volume>,
        recipients: Recipients,
    ) -> Option<Outcome> {
        (recipients == Recipients::All).then(|| self.notify_failure(range, Flags::NONE))
    }
}

/// Which holders are notified of errors that were found, and that no process has hit.
///
/// A filesystem in C takes them for failures, and may do worse than without: XFS shuts down for a
/// block of metadata that it would otherwise have written anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipients {
    /// Those that have a [`Holder::notify_found()`] of their own.
    Willing,
    /// All, also those in C.
    All,
}

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

/// Where a block device lies in the DAX device of its disk.
struct Place {
    block_device: BlockDeviceRef,
    initial: Window<space::Device, space::Volume>,
}

impl Place {
    /// # Errors
    ///
    /// - `ENXIO` if the device is empty or being removed.
    fn new(device: &OpenDevice) -> Result<Self> {
        let block_device = device.reference();

        Ok(Self {
            initial: block_device.window().ok_or(ENXIO)?,
            block_device,
        })
    }

    /// Where the block device lies now.
    ///
    /// It may have grown, and the holder with it. A smaller size is ignored: it is 0 once the disk
    /// is being removed.
    fn window(&self) -> Window<space::Device, space::Volume> {
        match self.block_device.window() {
            Some(now) if now.outer().len() > self.initial.outer().len() => now,
            _ => self.initial,
        }
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

/// What the slot of a device points to: one for each registration, at an address of its own.
struct Entry {
    next: Atomic<*const Entry>,
    place: Place,
    holder: Arc<dyn Holder>,
}

impl Entry {
    /// Notifies the holder of a failure of its part of `range`.
    fn notify_failure(&self, range: ByteRange<space::Device>, flags: Flags) -> Outcome {
        match self.place.window().inward(range) {
            Some(range) => self.holder.notify_failure(range, flags),
            None => Outcome::Declined(Reason::Unused),
        }
    }

    /// Notifies the holder of errors that were found in its part of `range`.
    fn notify_found(
        &self,
        range: ByteRange<space::Device>,
        recipients: Recipients,
    ) -> Option<Outcome> {
        self.holder
            .notify_found(self.place.window().inward(range)?, recipients)
    }
}

/// All entries, in lists by a hash of their address.
///
/// `dax_holder_notify_failure()` reads the operations of a slot, and its callback then reads the
/// holder. Between the two one holder can give up the slot and another one can claim it, be it a
/// filesystem in C whose pointer is to something else, which may go at any time. So the callback
/// may not follow the pointer before it knows that it is the address of an entry.
///
/// A callback looks without a lock. It runs under `dax_srcu`, and an entry is freed only after its
/// removal has waited for all readers of that: a callback finds entries that exist.
static ENTRIES: [Atomic<*const Entry>; 256] = [const { Atomic::new(ptr::null()) }; 256];

global_lock! {
    // Held to change the lists; nothing is allocated and nobody is waited for meanwhile.
    // SAFETY: `init()` is called before any holder can be registered.
    unsafe(uninit) static CHANGE: Mutex<()> = ();
}

/// Initializes the table of entries.
///
/// # Safety
///
/// Must be called once, before any other function of this module.
pub(crate) unsafe fn init() {
    // SAFETY: By the safety requirements.
    unsafe { CHANGE.init() };
}

/// The head of the list that the entry at this address is in.
///
/// C: `hash_64()`
fn head(data: *const c_void) -> &'static Atomic<*const Entry> {
    const GOLDEN_RATIO: u64 = 0x61c8_8646_80b5_83eb;

    // CAST: What is left of the hash are 8 bits, so there is a list for each.
    &ENTRIES[usize::from(((data as u64).wrapping_mul(GOLDEN_RATIO) >> 56) as u8)]
}

/// Finds the entry at an address, [`None`] if there is none.
///
/// # Safety
///
/// `dax_srcu` must be held for reading for the duration of `'a`.
unsafe fn find<'a>(data: *const c_void) -> Option<&'a Entry> {
    let mut next = head(data).load(Acquire);

    loop {
        // SAFETY: The entry is in the list, or was when this reader of `dax_srcu` has already been
        // there, for whom its removal waits. `Acquire` pairs with `Release` in `Listed::new()`.
        let entry = unsafe { next.as_ref() }?;

        if ptr::from_ref(entry).cast() == data {
            return Some(entry);
        }
        next = entry.next.load(Acquire);
    }
}

/// An entry that can be found. When dropped, it is removed, and the drop waits until nobody uses it
/// any more.
///
/// # Invariants
///
/// `entry` is in the list of its address.
// The fields are dropped in this order: when the entry is freed, those who have found it are gone.
struct Listed {
    _barrier: Alive,
    entry: KBox<Entry>,
}

impl Listed {
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    fn new(place: Place, holder: Arc<dyn Holder>) -> Result<Self> {
        // `kill_dax()` is the one exported function that waits for the readers of `dax_srcu`. It
        // needs a device of its own, which is allocated here, for a drop cannot fail.
        let barrier = Alive::without_operations()?;
        let entry = KBox::new(
            Entry {
                next: Atomic::new(ptr::null()),
                place,
                holder,
            },
            GFP_KERNEL,
        )?;
        let listed = Self {
            _barrier: barrier,
            entry,
        };
        let head = head(listed.as_data());
        let _guard = CHANGE.lock();

        // INVARIANT: It becomes the first of its list.
        listed.entry.next.store(head.load(Relaxed), Relaxed);
        head.store(&*listed.entry, Release);
        Ok(listed)
    }

    /// The address of the entry.
    fn as_data(&self) -> *mut c_void {
        ptr::from_ref::<Entry>(&self.entry).cast_mut().cast()
    }
}

/// Whether this is the address of an entry, and not what a filesystem in C has put in a slot.
///
/// # Safety
///
/// `dax_srcu` must be held for reading.
pub(super) unsafe fn is_registered(data: *const c_void) -> bool {
    // SAFETY: By the safety requirements.
    unsafe { find(data) }.is_some()
}

/// Notifies the holder whose entry has this address of errors that were found. [`None`] if it wants
/// none, and if there is no such entry.
///
/// # Safety
///
/// `dax_srcu` must be held for reading.
pub(super) unsafe fn notify_found(
    data: *const c_void,
    range: ByteRange<space::Device>,
    recipients: Recipients,
) -> Option<Outcome> {
    // SAFETY: By the safety requirements.
    unsafe { find(data) }?.notify_found(range, recipients)
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut link = head(self.as_data());
        let _guard = CHANGE.lock();

        loop {
            let next = link.load(Relaxed);

            if ptr::eq(next, &*self.entry) {
                link.store(self.entry.next.load(Relaxed), Release);
                return;
            }
            // SAFETY: Entries are removed before they are freed, and that waits for `_guard`.
            match unsafe { next.as_ref() } {
                Some(entry) => link = &entry.next,
                None => return,
            }
        }
    }
}

/// # Safety
///
/// Called by `dax_holder_notify_failure()` only, under `dax_srcu`, with a valid device.
unsafe extern "C" fn notify_failure(
    dax_dev: *mut bindings::dax_device,
    offset: u64,
    len: u64,
    mf_flags: c_int,
) -> c_int {
    // SAFETY: `dax_dev` is valid by the safety requirements.
    let data = unsafe { bindings::dax_holder(dax_dev) };

    // `fs_dax_get_by_bdev()` puts an entry in a slot by `cmpxchg()`, after it was listed. Where it
    // is looked for depends on what was found in the slot, so no barrier is needed in between.
    // SAFETY: The caller holds `dax_srcu`.
    let Some(entry) = (unsafe { find(data) }) else {
        // The slot was given up since the callback was picked up. Whoever has it now has come
        // after the failure; the kernel's generic path goes on.
        return EOPNOTSUPP.to_errno();
    };

    from_result(|| {
        let range = ByteRange::new(offset, len).ok_or(EINVAL)?;

        entry
            .notify_failure(range, Flags::from_raw(mf_flags))
            .into_result()
            .map(|()| 0)
    })
}

/// The operations of all holders: an entry is enough to know whom to notify.
static OPS: bindings::dax_holder_operations = bindings::dax_holder_operations {
    notify_failure: Some(notify_failure),
};

#[kunit_tests(daxmf_dax_holder)]
pub(crate) mod tests {
    use core::ptr::NonNull;

    use kernel::{
        error::{
            from_err_ptr,
            to_result, //
        },
        static_lock_class,
        sync::{
            new_mutex,
            Mutex, //
        },
    };

    use crate::dax::ReadLock;

    use super::*;

    const PAGE: u64 = 0x1000;

    /// A disk with DAX, which only the test knows, and which may be as a partition is.
    pub(crate) struct TestDisk {
        device: ARef<Device>,
        disk: NonNull<bindings::gendisk>,
    }

    impl TestDisk {
        pub(crate) fn new(first_page: u64, pages: u64) -> Result<Self> {
            // SAFETY: There are no operations.
            let device =
                from_err_ptr(unsafe { bindings::alloc_dax(ptr::null_mut(), ptr::null()) })?;
            // SAFETY: `alloc_dax()` returned a device with a reference.
            let device = unsafe { Device::from_raw(device) }.ok_or(ENOMEM)?;
            let mut limits = bindings::queue_limits {
                features: bindings::BLK_FEAT_DAX,
                ..pin_init::zeroed()
            };

            // SAFETY: `limits` is valid for the duration of the call, the lock class is static.
            let disk = from_err_ptr(unsafe {
                bindings::__blk_alloc_disk(&mut limits, -1, static_lock_class!().as_ptr())
            })?;
            let disk = Self {
                device,
                disk: NonNull::new(disk).ok_or(ENOMEM)?,
            };

            disk.resize(pages);
            // SAFETY: A disk has its first partition, and nobody else knows it.
            unsafe { (*(*disk.disk.as_ptr()).part0).bd_start_sect = first_page * 8 };
            // SAFETY: Both are valid, and the disk has no other device.
            to_result(unsafe { bindings::dax_add_host(disk.device.as_raw(), disk.disk.as_ptr()) })?;
            Ok(disk)
        }

        fn resize(&self, pages: u64) {
            // SAFETY: The disk is valid.
            unsafe { bindings::set_capacity(self.disk.as_ptr(), pages * 8) };
        }

        pub(crate) fn open(&self) -> &OpenDevice {
            // SAFETY: The disk is valid, and nobody can take it from us.
            unsafe { OpenDevice::from_raw((*self.disk.as_ptr()).part0) }
        }

        /// Notifies the holder of a failure of some pages of the DAX device.
        fn fail(&self, first_page: u64, pages: u64) -> Result<Outcome> {
            let range = ByteRange::new(first_page * PAGE, pages * PAGE).ok_or(EINVAL)?;

            Ok(self.device.notify_failure(range, Flags::SW_SIMULATED))
        }

        /// Notifies the holder of an error that was found in a page of the DAX device.
        fn find(&self, page: u64, recipients: Recipients) -> Result<Option<Outcome>> {
            let range = ByteRange::new(page * PAGE, PAGE).ok_or(EINVAL)?;

            Ok(self.device.notify_found(range, recipients))
        }
    }

    impl Drop for TestDisk {
        fn drop(&mut self) {
            // SAFETY: Both are valid, and the disk is not used afterwards.
            unsafe {
                bindings::dax_remove_host(self.disk.as_ptr());
                bindings::kill_dax(self.device.as_raw());
                bindings::put_disk(self.disk.as_ptr());
            }
        }
    }

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
        let is_found = |data| unsafe { find(data) }.is_some();

        assert!(all.iter().all(|listed| is_found(listed.as_data())));
        assert!(!gone.into_iter().any(|data| is_found(data)));
        assert!(!is_found(ptr::null_mut()));
        Ok(())
    }
}
