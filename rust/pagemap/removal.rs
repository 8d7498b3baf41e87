// SPDX-License-Identifier: GPL-2.0

//! Removals of failed frames from the linear map.

use kernel::time::{
    delay::fsleep,
    Delta,
    Instant,
    Monotonic, //
};

/// The removal of failed frames from the kernel's linear map, by the machine check handler after
/// the end of a callback. Nothing tells when the handler has done so. It waits for no lock of the
/// driver or the holder after the callback.
///
/// A driver that makes frames present again by
/// [`make_present()`](super::PageMap::make_present) waits for the end of the removal.
#[derive(Clone, Copy)]
pub struct Removal(Instant<Monotonic>);

impl Removal {
    /// The longest time that a removal takes.
    pub const TIME: Delta = Delta::from_secs(1);

    /// A removal that begins now, when the callback ends.
    pub fn begin() -> Self {
        Self(Instant::now())
    }

    /// The time until the frames are removed. It is negative if they are removed for longer.
    pub fn time_left(self) -> Delta {
        Self::TIME - self.0.elapsed()
    }

    /// Waits until the frames are removed.
    pub(super) fn wait(self) {
        let rest = self.time_left();

        if rest > Delta::ZERO {
            fsleep(rest);
        }
    }
}
