// SPDX-License-Identifier: GPL-2.0

//! The library of `mkfs.mendfs`, `fsck.mendfs` and `mendfs`: makes, checks, repairs and grows
//! mendfs filesystems.

use crc::{Crc, Table, CRC_32_ISCSI};

pub mod check;
mod chunks;
pub mod device;
pub mod growth;
pub mod info;
mod journal;
pub mod make;
pub mod media;
pub mod report;
pub mod superblock;
mod table;

pub use kernel::format;

/// The sources that the kernel module shares with the tools.
#[path = "../../../fs/mendfs"]
mod kernel {
    pub mod format;
}

/// The checksum of the on-media format: crc32c.
pub fn checksum(bytes: &[u8]) -> u32 {
    static CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

    CRC.checksum(bytes)
}
