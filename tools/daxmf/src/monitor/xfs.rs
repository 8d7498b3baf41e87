// SPDX-License-Identifier: GPL-2.0

//! Reports found errors to XFS if the holder of the disk was not notified.
//!
//! XFS reads the range (`XFS_IOC_VERIFY_MEDIA`), and reports the files that lost data to listeners,
//! such as by fanotify.

use std::slice;

use crate::bad::BadRanges;
use crate::block;
use crate::events::Record;
use crate::mounts;
use crate::sys::xfs::verify_media;
use crate::table::SECTOR;
use crate::text::readable;

/// Makes each XFS on the disk verify the range of an event. Returns a line for each error.
pub fn verify(record: &Record) -> Vec<String> {
    let mut errors = Vec::new();

    if record.get("event") == Some("notified") && record.get("outcome") == Some("not_notified") {
        let result = verify_all(record, &mut errors);

        errors.extend(result.err());
    }
    errors
}

fn verify_all(record: &Record, errors: &mut Vec<String>) -> Result<(), String> {
    let (Some(disk), Some(offset), Some(length)) = (
        record.get("disk"),
        record.number("offset"),
        record.number("length"),
    ) else {
        return Ok(());
    };
    let device = block::number_of(disk)?;
    let range = offset..offset.saturating_add(length);

    for (mount, root) in mounts::on(device, errors)? {
        if mount.kind != "xfs" {
            continue;
        }
        let ranges = match BadRanges::above(mount.device, device, slice::from_ref(&range)) {
            Ok(ranges) => ranges,
            Err(error) => {
                errors.push(format!("{}: {error}", readable(&mount.point)));
                continue;
            }
        };

        for range in ranges {
            let sectors = range.start / SECTOR..range.end / SECTOR;

            match verify_media(&root, &sectors) {
                // ENOTTY: an older kernel does not have this call.
                Err(error) if error.raw_os_error() != Some(libc::ENOTTY) => {
                    errors.push(format!("{}: {error}", readable(&mount.point)));
                }
                _ => {}
            }
        }
    }
    Ok(())
}
