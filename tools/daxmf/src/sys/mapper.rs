// SPDX-License-Identifier: GPL-2.0

//! The tables of mapped devices: `DM_TABLE_STATUS`.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use super::device_number::encoded;

mod ioctls {
    use nix::request_code_readwrite;

    nix::ioctl_readwrite_bad!(table_status, request_code_readwrite!(0xfd, 12, 312), u8);
}

/// The table of a mapped device, as `DM_TABLE_STATUS` of linux/dm-ioctl.h returns it: the number of
/// targets, and their `struct dm_target_spec` with their parameters.
pub fn table((major, minor): (u64, u64)) -> io::Result<(u32, Vec<u8>)> {
    /// Size of `struct dm_ioctl`.
    const HEAD: usize = 312;
    const SIZE_AT: usize = 12;
    const START_AT: usize = 16;
    const COUNT_AT: usize = 20;
    const FLAGS_AT: usize = 28;
    const DEVICE_AT: usize = 40;
    const STATUS_TABLE: u32 = 1 << 4;
    const BUFFER_FULL: u32 = 1 << 8;
    const NO_FLUSH: u32 = 1 << 11;

    let control = File::open("/dev/mapper/control")?;
    let mut size = 1 << 14;

    loop {
        let mut request = vec![0; size];
        let mut set =
            |at: usize, bytes: &[u8]| request[at..at + bytes.len()].copy_from_slice(bytes);

        // The version of the interface: 4.0.0.
        set(0, &4_u32.to_ne_bytes());
        set(SIZE_AT, &(size as u32).to_ne_bytes());
        set(START_AT, &(HEAD as u32).to_ne_bytes());
        set(FLAGS_AT, &(STATUS_TABLE | NO_FLUSH).to_ne_bytes());
        set(DEVICE_AT, &u64::from(encoded(major, minor)).to_ne_bytes());
        // SAFETY: DM_TABLE_STATUS reads and writes at most the number of bytes at `SIZE_AT`, which
        // is the size of `request`, and more than `HEAD`.
        unsafe { ioctls::table_status(control.as_raw_fd(), request.as_mut_ptr()) }?;
        let get = |at: usize| {
            let bytes = request
                .get(at..at + 4)
                .and_then(|bytes| bytes.try_into().ok());

            bytes.map_or(0, u32::from_ne_bytes)
        };

        if get(FLAGS_AT) & BUFFER_FULL == 0 {
            let targets = request.get(get(START_AT) as usize..).unwrap_or_default();

            return Ok((get(COUNT_AT), targets.into()));
        }
        size *= 2;
    }
}
