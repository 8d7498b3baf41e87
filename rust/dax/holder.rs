// SPDX-License-Identifier: GPL-2.0

//! The consumer's side of a DAX device.
//!
//! A device has one slot for a holder: a filesystem, or a stacked device. The holder is told of
//! memory failures of the device, and that the device is about to go.
//!
//! C keeps no promise about when a holder's callback may still run: `fs_put_dax()` waits for
//! nobody. [`Registration`] does: once it is dropped, the callback is not running and never will.

use core::{
    any::TypeId,
    marker::PhantomData, //
};

use kernel::{
    error::from_result,
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
    memory_failure::{
        Flags,
        Outcome, //
    },
    range::ByteRange, //
};

use super::{
    device::Alive,
    Device, //
};

/// A consumer that is told of memory failures.
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
///     range::ByteRange,
/// };
/// use kernel::sync::Arc;
///
/// struct Indifferent;
///
/// impl Holder for Indifferent {
///     fn notify_failure(&self, _range: ByteRange, _flags: Flags) -> Outcome {
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
pub trait Holder: Send + Sync + Sized + 'static {
    /// Deals with a memory failure of the bytes `range` of the held device.
    ///
    /// The range is counted from the start of the whole device, also if the holder lives on a
    /// partition, and may reach beyond the device's end: [`ByteRange::ALL`] with
    /// [`Flags::MEM_PRE_REMOVE`] says that all of it goes.
    ///
    /// Called in process context under the read side of `dax_srcu`, and for failures also under
    /// the kernel's one `mf_mutex`: it may sleep and may notify another device's holder, but it
    /// must not wait for a memory failure or for a DAX device to go. So it must not drop a
    /// [`Registration`], of either side.
    ///
    /// The outcome passes through C as an errno, so a [`Reason`] is lost on the way: whoever
    /// notified the holder sees [`Reason::NotSupported`].
    ///
    /// [`Reason`]: crate::memory_failure::Reason
    /// [`Reason::NotSupported`]: crate::memory_failure::Reason::NotSupported
    fn notify_failure(&self, range: ByteRange, flags: Flags) -> Outcome;
}

/// The registration of a holder with a DAX device.
///
/// When dropped, the device's slot is free again, and the drop waits until the callback is not
/// running. So it must not happen in a callback.
///
/// # Invariants
///
/// `claim` and `entry` are for `holder`.
// The fields are dropped in this order: the callback cannot be picked up any more, it is not
// running any more, and only then what it uses goes.
pub struct Registration<H: Holder> {
    claim: Claim,
    _barrier: Alive,
    _entry: Entry,
    holder: Arc<H>,
}

impl<H: Holder> Registration<H> {
    /// Registers `holder` with the DAX device of the disk that `device` is, or is a partition of.
    ///
    /// The block device need not stay open.
    ///
    /// # Errors
    ///
    /// - `EOPNOTSUPP` if the disk has no DAX.
    /// - `EINVAL` if the start or the size of the partition is not a multiple of the page size.
    /// - `EBUSY` if the device has a holder.
    /// - `ENXIO` if the device is being removed.
    /// - `ENOMEM` if memory is short.
    pub fn new(device: &OpenDevice, holder: Arc<H>) -> Result<Self> {
        let data = Arc::as_ptr(&holder).cast_mut().cast();

        // `kill_dax()` is the one exported function that waits for the readers of `dax_srcu`. It
        // needs a device of its own, which is allocated here, for a drop cannot fail.
        let barrier = Alive::without_operations()?;
        let entry = Entry::new(data, TypeId::of::<H>())?;

        // SAFETY: The callback of `OPS` expects what `data` points to, and the fields of `Self`
        // are dropped in the order that keeps `data` alive for it.
        let claim = unsafe { Claim::new(device, data, &VTable::<H>::OPS) }?;

        // INVARIANT: Both were made from `holder`.
        Ok(Self {
            claim,
            _barrier: barrier,
            _entry: entry,
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

/// The holder slot of a device, given up when dropped. The callback may be running then, and may
/// even start after that, if it was picked up before.
///
/// # Invariants
///
/// `data` was put in the slot of `device`.
struct Claim {
    device: ARef<Device>,
    data: *mut c_void,
}

// SAFETY: `data` is only ever compared, and `fs_put_dax()` may be called from any thread.
unsafe impl Send for Claim {}

// SAFETY: A shared `Claim` gives access to `device` only.
unsafe impl Sync for Claim {}

impl Claim {
    /// Claims the DAX device of a disk, with the errors of [`Registration::new()`].
    ///
    /// # Safety
    ///
    /// The callback of `ops` must accept `data` from now on until the claim has been dropped and
    /// the readers of `dax_srcu` have been waited for.
    unsafe fn new(
        device: &OpenDevice,
        data: *mut c_void,
        ops: &'static bindings::dax_holder_operations,
    ) -> Result<Self> {
        // `fs_dax_get_by_bdev()` leaks a reference to the device if the slot is taken, so look
        // first. What remains is the race of two claims.
        if Device::of(device)?.is_held() {
            return Err(EBUSY);
        }

        // SAFETY: By the safety requirements.
        let device = unsafe { Device::get_by_bdev(device, data, ops) }.ok_or(EBUSY)?;

        // INVARIANT: With a holder, `fs_dax_get_by_bdev()` returns a device that it could claim.
        Ok(Self { device, data })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // `fs_put_dax()` drops a reference with the claim.
        let device = ARef::into_raw(self.device.clone());

        // SAFETY: By the type invariants, `data` is the holder of the device, unless the device
        // was killed in between, which `fs_put_dax()` allows.
        unsafe { bindings::fs_put_dax(device.as_ptr().cast(), self.data) };
    }
}

/// The entry of a holder in the table of all holders, removed when dropped.
///
/// The table makes sure that a callback casts the pointer that it finds in a device's slot to its
/// own type only. The two are read one after the other: between them one holder can give up the
/// slot and another one, be it a filesystem, can claim it.
struct Entry {
    data: usize,
    type_id: TypeId,
}

global_lock! {
    // SAFETY: `init()` is called before any holder can be registered.
    unsafe(uninit) static ENTRIES: Mutex<KVec<(usize, TypeId)>> = KVec::new();
}

/// Initializes the table of holders.
///
/// # Safety
///
/// Must be called once, before any other function of this module.
pub(crate) unsafe fn init() {
    // SAFETY: By the safety requirements.
    unsafe { ENTRIES.init() };
}

impl Entry {
    /// Enters a holder in the table.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    fn new(data: *mut c_void, type_id: TypeId) -> Result<Self> {
        let data = data as usize;

        ENTRIES.lock().push((data, type_id), GFP_KERNEL)?;
        Ok(Self { data, type_id })
    }

    /// Whether the table has an entry for a holder of this type at this address.
    fn exists(data: *mut c_void, type_id: TypeId) -> bool {
        ENTRIES.lock().contains(&(data as usize, type_id))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut entries = ENTRIES.lock();

        entries.retain(|entry| *entry != (self.data, self.type_id));
        // Nobody drops a static when the module goes, so an empty table owns no memory.
        if entries.is_empty() {
            *entries = KVec::new();
        }
    }
}

/// The operations table of `H`.
struct VTable<H: Holder>(PhantomData<H>);

impl<H: Holder> VTable<H> {
    /// # Safety
    ///
    /// Called by `dax_holder_notify_failure()` only, under `dax_srcu`, for a device that a holder
    /// with this table was registered for.
    unsafe extern "C" fn notify_failure(
        dax_dev: *mut bindings::dax_device,
        offset: u64,
        len: u64,
        mf_flags: c_int,
    ) -> c_int {
        // SAFETY: `dax_dev` is valid by the safety requirements.
        let data = unsafe { bindings::dax_holder(dax_dev) };

        // The slot has changed hands since the callback was picked up. Whoever holds it now has
        // come after the failure; the kernel's generic path deals with it.
        if !Entry::exists(data, TypeId::of::<H>()) {
            return EOPNOTSUPP.to_errno();
        }

        // SAFETY: The entry says that `data` is a holder of type `H`. It stays valid until after
        // its registration has waited for the readers of `dax_srcu`, of which this is one.
        let holder = unsafe { &*data.cast::<H>() };

        from_result(|| {
            let range = ByteRange::new(offset, len).ok_or(EINVAL)?;

            holder
                .notify_failure(range, Flags::from_raw(mf_flags))
                .into_result()
                .map(|()| 0)
        })
    }

    const OPS: bindings::dax_holder_operations = bindings::dax_holder_operations {
        notify_failure: Some(Self::notify_failure),
    };
}

#[kunit_tests(daxmf_dax_holder)]
mod tests {
    use core::ptr;

    use super::*;

    struct One;
    struct Other;

    #[test]
    fn table_tells_types_apart() -> Result {
        let data = ptr::dangling_mut::<u64>().cast();
        let entry = Entry::new(data, TypeId::of::<One>())?;

        assert!(Entry::exists(data, TypeId::of::<One>()));
        assert!(!Entry::exists(data, TypeId::of::<Other>()));
        assert!(!Entry::exists(ptr::null_mut(), TypeId::of::<One>()));

        drop(entry);
        assert!(!Entry::exists(data, TypeId::of::<One>()));
        Ok(())
    }
}
