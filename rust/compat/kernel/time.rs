// SPDX-License-Identifier: GPL-2.0

//! Time related primitives.

pub use kernel::time::*;

/// What 7.3 added to [`Delta`].
pub trait DeltaExt: Copy {
    /// Returns the smallest number of milliseconds greater than or equal to the value.
    fn as_millis_ceil(self) -> i64;
}

impl DeltaExt for Delta {
    #[inline]
    fn as_millis_ceil(self) -> i64 {
        let nanos = self.as_nanos();

        // Division rounds towards zero: what is negative up already. Adding first would overflow.
        match nanos > 0 && nanos % NSEC_PER_MSEC != 0 {
            true => (nanos / NSEC_PER_MSEC).saturating_add(1),
            false => nanos / NSEC_PER_MSEC,
        }
    }
}
