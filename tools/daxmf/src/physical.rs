// SPDX-License-Identifier: GPL-2.0

//! Finds the disk of a physical address.

use std::fs;

use crate::bad;
use crate::block;
use crate::table::SECTOR;

/// Size of a page frame, in bytes.
pub const PAGE: u64 = 4096;

/// Finds the disk with DAX that has a page frame, and the offset of the frame on it, in bytes.
pub fn disk_of(pfn: u64) -> Result<(String, u64), String> {
    let disks = block::names("/sys/block")?;
    let address = pfn.checked_mul(PAGE);
    let found = address.and_then(|address| {
        disks.into_iter().find_map(|disk| {
            let offset = address.checked_sub(start(&disk)?)?;
            let size = bad::number(&format!("/sys/block/{disk}/size")).ok()?;

            (offset < size.saturating_mul(SECTOR)).then_some((disk, offset))
        })
    });

    found.ok_or_else(|| {
        format!("page frame {pfn:#x}: not part of a persistent-memory disk with DAX")
    })
}

/// The physical address of the first byte of a disk. [`None`] if the disk is not persistent memory
/// with DAX. The address is an attribute of the disk's parent in sysfs, such as the namespace.
pub fn start(disk: &str) -> Option<u64> {
    let parent = format!("/sys/block/{disk}/device");
    let subsystem = fs::read_link(format!("{parent}/subsystem")).ok()?;
    let text = fs::read_to_string(format!("{parent}/resource")).ok()?;
    let digits = text.trim().strip_prefix("0x")?;

    (subsystem.ends_with("bus/nd") && block::has_dax(disk)).then_some(())?;
    u64::from_str_radix(digits, 16).ok()
}
