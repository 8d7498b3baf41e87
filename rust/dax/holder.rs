// SPDX-License-Identifier: GPL-2.0

//! The consumer's side of a DAX device.
//!
//! A device has one slot for a holder: a filesystem, or a stacked device. The kernel notifies the
//! holder of memory failures of the device, and before the device goes.
//!
//! C keeps no promise about when a holder's callback may still run: `fs_put_dax()` waits for
//! nobody. [`Registration`] does: once it is dropped, the callback is not running and never will.

mod entries;
mod registration;
#[cfg(CONFIG_KUNIT = "y")]
pub(crate) mod test_disk;

pub use self::registration::Registration;

pub(crate) use self::entries::init;
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
    ///
    /// [`Reason`]: crate::memory_failure::Reason
    /// [`Reason::NotSupported`]: crate::memory_failure::Reason::NotSupported
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
