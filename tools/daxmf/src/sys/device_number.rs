// SPDX-License-Identifier: GPL-2.0

//! Device numbers in the encoding of the kernel's structures.

/// `new_encode_dev()` of linux/kdev_t.h.
pub(super) fn encoded(major: u64, minor: u64) -> u32 {
    ((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_encoded_as_the_kernel_does() {
        assert_eq!(encoded(259, 0), 0x10300);
        assert_eq!(encoded(253, 1), 0xfd01);
        assert_eq!(encoded(253, 0x1ff), 0x10_fdff);
    }
}
