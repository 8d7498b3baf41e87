// SPDX-License-Identifier: GPL-2.0

//! Time related primitives.

pub use kernel::time::*;

/// Methods that Linux 7.3 added to [`Delta`].
pub trait DeltaExt: Copy {
    /// Returns the smallest number of milliseconds greater than or equal to the value.
    fn as_millis_ceil(self) -> i64;
}

impl DeltaExt for Delta {
    #[inline]
    fn as_millis_ceil(self) -> i64 {
        let nanos = self.as_nanos();

        // Division rounds towards zero, so it already rounds negative values up. Adding 1 after the
        // division avoids an overflow.
        match nanos > 0 && nanos % NSEC_PER_MSEC != 0 {
            true => (nanos / NSEC_PER_MSEC).saturating_add(1),
            false => nanos / NSEC_PER_MSEC,
        }
    }
}
