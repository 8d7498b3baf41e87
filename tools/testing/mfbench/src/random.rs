// SPDX-License-Identifier: GPL-2.0

//! Pseudo-random numbers, the same in each run.

/// Knuth's MMIX generator.
pub struct Random(u64);

impl Random {
    pub fn new() -> Self {
        Self(1)
    }
}

impl Iterator for Random {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        Some((self.0 >> 33) as usize)
    }
}
