// SPDX-License-Identifier: GPL-2.0

//! The entries that the holder slots of DAX devices point to.
//!
//! Reference: [`drivers/dax/super.c`](srctree/drivers/dax/super.c)

use core::ptr;

use kernel::{
    error::from_result,
    prelude::*,
    sync::{
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
    dax::device::LiveDevice,
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
    Holder,
    Recipients, //
};

/// The position of a block device in the DAX device of its disk.
pub(super) struct Place {
    block_device: BlockDeviceRef,
    initial: Window<space::Device, space::Volume>,
}

impl Place {
    /// Stores the current position of an open block device.
    ///
    /// # Errors
    ///
    /// - `ENXIO` if the device is empty or being removed.
    pub(super) fn new(device: &OpenDevice) -> Result<Self> {
        let block_device = device.reference();

        Ok(Self {
            initial: block_device.window().ok_or(ENXIO)?,
            block_device,
        })
    }

    /// Returns the current position of the block device.
    ///
    /// The block device can grow. A smaller size is ignored, because the size is 0 while the disk
    /// is being removed.
    fn window(&self) -> Window<space::Device, space::Volume> {
        match self.block_device.window() {
            Some(now) if now.outer().len() > self.initial.outer().len() => now,
            _ => self.initial,
        }
    }
}

/// The target of a device's slot. Each registration has one, at a unique address.
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

    /// Notifies the holder of found errors in its part of `range`.
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
/// `dax_holder_notify_failure()` reads the operations of a slot, and the callback of [`OPS`] then
/// reads the holder. Between the two reads, the holder can release the slot, and another holder can
/// claim it. The new holder can be a filesystem in C: its pointer has another type, and the
/// filesystem can free the target at any time. So the callback must not dereference the pointer
/// before it has found the pointer in this table.
///
/// The callback searches without a lock. It runs under `dax_srcu`, and the drop of an entry waits
/// for all readers of `dax_srcu` before it frees the entry.
static ENTRIES: [Atomic<*const Entry>; 256] = [const { Atomic::new(ptr::null()) }; 256];

global_lock! {
    // Held to change the lists. Code that holds it neither allocates memory nor waits.
    // SAFETY: `Daxmf::init()` calls `init()` before another module can register a holder.
    unsafe(uninit) static CHANGE: Mutex<()> = ();
}

/// Initializes the table of entries.
///
/// # Safety
///
/// Must be called once, before any other function of this module.
pub(super) unsafe fn init() {
    // SAFETY: `init()` is called once, before `CHANGE` is used, by the safety requirements.
    unsafe { CHANGE.init() };
}

/// Returns the head of the list for the entry at this address.
///
/// C: `hash_64()`
fn head(data: *const c_void) -> &'static Atomic<*const Entry> {
    const GOLDEN_RATIO: u64 = 0x61c8_8646_80b5_83eb;

    // CAST: The shift leaves 8 bits of the hash, and `ENTRIES` has 256 lists.
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
        // SAFETY: `next` is null, or points to an entry that was in the list after this section of
        // `dax_srcu` started. The drop of the entry waits for the section before it frees the
        // entry. `Acquire` pairs with `Release` in `ListedEntry::new()`.
        let entry = unsafe { next.as_ref() }?;

        if ptr::from_ref(entry).cast() == data {
            return Some(entry);
        }
        next = entry.next.load(Acquire);
    }
}

/// An entry that is in the table. The drop removes it, then waits for the callbacks that found it.
///
/// # Invariants
///
/// `entry` is in the list of its address.
// The order of the fields matters: `_barrier` waits for the readers of `dax_srcu`, and only then is
// `entry` freed.
pub(super) struct ListedEntry {
    _barrier: LiveDevice,
    entry: KBox<Entry>,
}

impl ListedEntry {
    /// Adds an entry for `holder` to the table.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(super) fn new(place: Place, holder: Arc<dyn Holder>) -> Result<Self> {
        // `kill_dax()` is the only exported function that waits for the readers of `dax_srcu`. It
        // needs a device, which is allocated here because a drop must not fail.
        let barrier = LiveDevice::without_operations()?;
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

        // INVARIANT: The entry becomes the first of its list.
        listed.entry.next.store(head.load(Relaxed), Relaxed);
        head.store(&*listed.entry, Release);
        Ok(listed)
    }

    /// The address of the entry.
    pub(super) fn as_data(&self) -> *mut c_void {
        ptr::from_ref::<Entry>(&self.entry).cast_mut().cast()
    }
}

/// Whether this is the address of an entry, and not the pointer of a filesystem in C.
///
/// # Safety
///
/// `dax_srcu` must be held for reading.
pub(in crate::dax) unsafe fn is_registered(data: *const c_void) -> bool {
    // SAFETY: The caller holds `dax_srcu` by the safety requirements.
    unsafe { find(data) }.is_some()
}

/// Notifies the holder whose entry has this address of found errors. Returns [`None`] if there is
/// no such entry, if the holder does not use the range, or if it does not handle found errors.
///
/// # Safety
///
/// `dax_srcu` must be held for reading.
pub(in crate::dax) unsafe fn notify_found(
    data: *const c_void,
    range: ByteRange<space::Device>,
    recipients: Recipients,
) -> Option<Outcome> {
    // SAFETY: The caller holds `dax_srcu` by the safety requirements.
    unsafe { find(data) }?.notify_found(range, recipients)
}

impl Drop for ListedEntry {
    fn drop(&mut self) {
        let mut link = head(self.as_data());
        let _guard = CHANGE.lock();

        loop {
            let next = link.load(Relaxed);

            if ptr::eq(next, &*self.entry) {
                link.store(self.entry.next.load(Relaxed), Release);
                return;
            }
            // SAFETY: `next` is null or an entry of the list. An entry is removed from its list,
            // under `CHANGE`, before it is freed, and `_guard` holds `CHANGE`.
            match unsafe { next.as_ref() } {
                Some(entry) => link = &entry.next,
                None => return,
            }
        }
    }
}

/// # Safety
///
/// Only `dax_holder_notify_failure()` may call this, under `dax_srcu`, with a valid device.
unsafe extern "C" fn notify_failure(
    dax_dev: *mut bindings::dax_device,
    offset: u64,
    len: u64,
    mf_flags: c_int,
) -> c_int {
    // SAFETY: `dax_dev` is valid by the safety requirements.
    let data = unsafe { bindings::dax_holder(dax_dev) };

    // `ListedEntry::new()` adds an entry to its list, and `fs_dax_get_by_bdev()` then stores the
    // address of the entry in a slot by `cmpxchg()`, a full barrier. `find()` computes the list
    // from that address, and this dependency orders its loads after the load of the slot. So no
    // barrier is needed here.
    // SAFETY: `dax_holder_notify_failure()` holds `dax_srcu`.
    let Some(entry) = (unsafe { find(data) }) else {
        // The holder has released the slot after `dax_holder_notify_failure()` had read the
        // callback. A new holder has claimed the slot after the failure, so it need not be
        // notified. `EOPNOTSUPP` makes the kernel continue with its generic path.
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

/// The operations of all holders that the crate registers. The callback finds the holder by its
/// entry.
pub(super) static OPS: bindings::dax_holder_operations = bindings::dax_holder_operations {
    notify_failure: Some(notify_failure),
};
