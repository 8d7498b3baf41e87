// SPDX-License-Identifier: GPL-2.0

//! The consumer's side of a DAX device.
//!
//! A device has one slot for a holder: a filesystem, or a stacked device. The kernel notifies the
//! holder of memory failures of the device, and before the removal of the device.
//!
//! `fs_put_dax()` does not wait for a callback of the holder, so a callback can still run after it.
//! The drop of a [`Registration`] waits: the callback is not running afterwards, and never runs
//! again.

mod entries;
mod registration;
#[cfg(CONFIG_KUNIT = "y")]
pub(crate) mod test_disk;

pub use self::registration::Registration;

pub(super) use self::entries::{
    is_registered,
    notify_found, //
};

use crate::{
    memory_failure::{
        Flags,
        Outcome, //
    },
    range::{
        space,
        ByteRange, //
    },
};

/// Initializes the locks of this module.
///
/// # Safety
///
/// Must be called once, before any other function of this module.
pub(crate) unsafe fn init() {
    // SAFETY: This function is called once, before any other, by the safety requirements.
    unsafe {
        entries::init();
        registration::init();
    }
}

/// A consumer that is notified of memory failures.
///
/// # Examples
///
/// A holder that accepts every failure and does nothing about it:
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
    /// The range lies within that block device, a disk or a partition, at its current size if it
    /// has grown. Failures of other parts of the disk are not passed to this method. With
    /// [`Flags::MEM_PRE_REMOVE`] the range is the memory that is about to be removed: all of the
    /// block device, or the part of a device-mapper device that lies on a removed disk.
    ///
    /// The kernel calls this in process context, in a read section of `dax_srcu`. The method may
    /// sleep, and may notify another device's holder. It must not wait for a memory failure or for
    /// the removal of a DAX device, so it must not drop a holder's or a provider's registration.
    /// For a failure from `memory_failure()`, the caller also holds the kernel's global `mf_mutex`.
    /// Other calls can run at the same time.
    ///
    /// The outcome passes through C as an errno, which has no place for a [`Reason`]: the notifier
    /// gets [`Reason::NotSupported`] instead.
    ///
    /// [`Reason`]: crate::memory_failure::Reason
    /// [`Reason::NotSupported`]: crate::memory_failure::Reason::NotSupported
    fn notify_failure(&self, range: ByteRange<space::Volume>, flags: Flags) -> Outcome;

    /// Handles found errors in `range`: a scrub, a failed read or root found them before a process
    /// consumed the data. Returns [`None`] if the holder does not handle found errors.
    ///
    /// An implementation can treat found errors like failures, by a call of
    /// [`notify_failure()`](Self::notify_failure) with [`Flags::NONE`]. The default does so for
    /// [`Recipients::All`] only.
    ///
    /// Called in the same context as [`notify_failure()`](Self::notify_failure), from a work item.
    fn notify_found(
        &self,
        range: ByteRange<space::Volume>,
        recipients: Recipients,
    ) -> Option<Outcome> {
        (recipients == Recipients::All).then(|| self.notify_failure(range, Flags::NONE))
    }
}

/// Which holders are notified of found errors.
///
/// A filesystem in C handles a found error like a failure, which can do harm: XFS shuts down for a
/// bad metadata block that it could otherwise have overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipients {
    /// Holders that implement [`Holder::notify_found()`] themselves.
    Willing,
    /// All holders, including filesystems in C.
    All,
}
