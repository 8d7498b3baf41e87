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
    /// Whether the holder, at this moment, is one of a
    /// [`Registration`](holder::Registration), and not a filesystem in C.
    pub fn has_registered_holder(&self, _lock: &ReadLock) -> bool {
        // SAFETY: By the type invariants. `_lock` proves that `dax_srcu` is held.
        unsafe { holder::is_registered(bindings::dax_holder(self.as_raw())) }
    }

    /// Notifies the device's holder that `range` of the device failed.
    ///
    /// The holder's callback runs before this returns; it may sleep.
    ///
    /// C: `dax_holder_notify_failure()`
    pub fn notify_failure(&self, range: ByteRange<space::Device>, flags: Flags) -> Outcome {
        // SAFETY: By the type invariants. The function takes `dax_srcu` by itself.
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
            // It is the kernel's answer for a dead device, but any holder may fail with it, too.
            Err(ENXIO) if !self.is_alive(&ReadLock::new()) => Outcome::Declined(Reason::Removed),
            Err(error) => Outcome::Failed(error),
        }
    }

    /// Notifies the device's holder of errors that were found in `range`, if it is one of
    /// `recipients`. Returns [`None`] if nobody was notified: there may be no holder, or none who
    /// uses the range.
    ///
    /// Takes time as [`notify_failure()`](Self::notify_failure) does. A filesystem in C is notified
    /// of a failure with [`Flags::NONE`].
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

        // SAFETY: By the type invariants. `lock` proves that `dax_srcu` is held.
        unsafe { holder::notify_found(bindings::dax_holder(self.as_raw()), range, recipients) }
    }
}

#[kunit_tests(daxmf_dax_device)]
mod tests {
    use crate::dax::device::Alive;

    use super::*;

    #[test]
    fn nobody_to_tell() -> Result {
        let alive = Alive::without_operations()?;

        assert_eq!(alive.0.is_held(), false);
        assert_eq!(alive.0.has_registered_holder(&ReadLock::new()), false);
        assert_eq!(
            alive.0.notify_failure(ByteRange::ALL, Flags::NONE),
            Outcome::Declined(Reason::NoHolder)
        );
        Ok(())
    }

    #[test]
    fn dead_device_declines() -> Result {
        let alive = Alive::without_operations()?;
        let device = alive.0.clone();

        assert!(device.is_alive(&ReadLock::new()));
        drop(alive);
        assert!(!device.is_alive(&ReadLock::new()));

        assert_eq!(
            device.notify_failure(ByteRange::ALL, Flags::NONE),
            Outcome::Declined(Reason::Removed)
        );
        Ok(())
    }
}
