// SPDX-License-Identifier: GPL-2.0

//! What the holder slots of DAX devices point to.
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
    dax::device::Alive,
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

/// Where a block device lies in the DAX device of its disk.
pub(super) struct Place {
    block_device: BlockDeviceRef,
    initial: Window<space::Device, space::Volume>,
}

impl Place {
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
pub(super) struct Listed {
    _barrier: Alive,
    entry: KBox<Entry>,
}

impl Listed {
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(super) fn new(place: Place, holder: Arc<dyn Holder>) -> Result<Self> {
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
    pub(super) fn as_data(&self) -> *mut c_void {
        ptr::from_ref::<Entry>(&self.entry).cast_mut().cast()
    }
}

/// Whether this is the address of an entry, and not what a filesystem in C has put in a slot.
///
/// # Safety
///
/// `dax_srcu` must be held for reading.
pub(in crate::dax) unsafe fn is_registered(data: *const c_void) -> bool {
    // SAFETY: By the safety requirements.
    unsafe { find(data) }.is_some()
}

/// Notifies the holder whose entry has this address of errors that were found. [`None`] if it wants
/// none, and if there is no such entry.
///
/// # Safety
///
/// `dax_srcu` must be held for reading.
pub(in crate::dax) unsafe fn notify_found(
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
pub(super) static OPS: bindings::dax_holder_operations = bindings::dax_holder_operations {
    notify_failure: Some(notify_failure),
};
