// SPDX-License-Identifier: GPL-2.0

//! Notifying the holder of a DAX device.
//!
//! Reference: [`drivers/dax/super.c`](srctree/drivers/dax/super.c)

use kernel::{
    error::to_result,
    prelude::*, //
};

use crate::{
    bindings,
    dax::holder::{
        self,
        Recipients, //
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

use super::{
    Device,
    ReadLock, //
};

impl Device {
    /// Whether the holder, at this moment, was registered by a
    /// [`Registration`](holder::Registration), and is not a filesystem in C.
    pub fn has_registered_holder(&self, _lock: &ReadLock) -> bool {
        // SAFETY: `self` is a valid `struct dax_device` by its type invariants, and `_lock` proves
        // that `dax_srcu` is held.
        unsafe { holder::is_registered(bindings::dax_holder(self.as_raw())) }
    }

    /// Notifies the device's holder that `range` of the device failed. Returns the holder's
    /// outcome, or [`Outcome::Declined`] if the device has no holder or is dead.
    ///
    /// The holder's callback has run when this returns. The callback may sleep, so the caller must
    /// be allowed to sleep.
    ///
    /// C: `dax_holder_notify_failure()`
    pub fn notify_failure(&self, range: ByteRange<space::Device>, flags: Flags) -> Outcome {
        // SAFETY: `self` is a valid `struct dax_device` by its type invariants. The function takes
        // `dax_srcu` itself.
        let answer = to_result(unsafe {
            bindings::dax_holder_notify_failure(
                self.as_raw(),
                range.start(),
                range.len(),
                flags.as_raw(),
            )
        });

        match answer {
            Ok(()) => Outcome::Delivered,
            Err(EOPNOTSUPP) if self.is_held() => Outcome::Declined(Reason::NotSupported),
            Err(EOPNOTSUPP) => Outcome::Declined(Reason::NoHolder),
            // The kernel returns `ENXIO` for a dead device. A holder can fail with `ENXIO`, too.
            Err(ENXIO) if !self.is_alive(&ReadLock::new()) => Outcome::Declined(Reason::Removed),
            Err(error) => Outcome::Failed(error),
        }
    }

    /// Notifies the device's holder of found errors in `range`, if it is one of `recipients`.
    /// Returns [`None`] if it notified no holder: the device has no holder, the holder does not use
    /// the range, or it is not one of `recipients`.
    ///
    /// The holder's callback has run when this returns. The callback may sleep, so the caller must
    /// be allowed to sleep. A filesystem in C gets a memory failure with [`Flags::NONE`].
    pub fn notify_found(
        &self,
        range: ByteRange<space::Device>,
        recipients: Recipients,
    ) -> Option<Outcome> {
        let lock = ReadLock::new();

        if !self.is_alive(&lock) || !self.is_held() {
            return None;
        }
        if !self.has_registered_holder(&lock) {
            return (recipients == Recipients::All)
                .then(|| self.notify_failure(range, Flags::NONE));
        }

        // SAFETY: `self` is a valid `struct dax_device` by its type invariants, and `lock` proves
        // that `dax_srcu` is held.
        unsafe { holder::notify_found(bindings::dax_holder(self.as_raw()), range, recipients) }
    }
}

#[kunit_tests(daxmf_dax_device)]
mod tests {
    use crate::dax::device::LiveDevice;

    use super::*;

    #[test]
    fn without_holder_declines() -> Result {
        let live = LiveDevice::without_operations()?;

        assert_eq!(live.0.is_held(), false);
        assert_eq!(live.0.has_registered_holder(&ReadLock::new()), false);
        assert_eq!(
            live.0.notify_failure(ByteRange::ALL, Flags::NONE),
            Outcome::Declined(Reason::NoHolder)
        );
        Ok(())
    }

    #[test]
    fn dead_device_declines() -> Result {
        let live = LiveDevice::without_operations()?;
        let device = live.0.clone();

        assert!(device.is_alive(&ReadLock::new()));
        drop(live);
        assert!(!device.is_alive(&ReadLock::new()));

        assert_eq!(
            device.notify_failure(ByteRange::ALL, Flags::NONE),
            Outcome::Declined(Reason::Removed)
        );
        Ok(())
    }
}
