// SPDX-License-Identifier: GPL-2.0

//! Makes, checks and repairs mendfs filesystems: what the programs share.

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

/// What is also built into the module.
#[path = "../../../fs/mendfs"]
mod kernel {
    pub mod format;
}

/// The checksum of the format, crc32c.
pub fn checksum(bytes: &[u8]) -> u32 {
    static CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

    CRC.checksum(bytes)
}
