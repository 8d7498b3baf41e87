// SPDX-License-Identifier: GPL-2.0

//! Listens for errors of a filesystem (`FAN_FS_ERROR`).

use std::ffi::CString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::FromRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Size of `struct fanotify_event_metadata`.
const METADATA_LEN: usize = 24;

/// The type of a handle with a 64-bit inode number, `FILEID_INO64_GEN`.
const INODE_HANDLE: u32 = 0x81;

/// An event: the first error since the last event, and the number of errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Errors {
    /// The inode of the first error. `None` if it is an error of the whole filesystem.
    pub inode: Option<u64>,
    /// The errno of the first error.
    pub errno: i32,
    /// The number of errors.
    pub count: u32,
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.inode {
            Some(inode) => write!(f, "inode {inode}: ")?,
            None => f.write_str("filesystem: ")?,
        }
        write!(f, "errno {}, {} in all", self.errno, self.count)
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

impl Errors {
    /// Reads the information records of an event.
    fn parse(mut records: &[u8]) -> Option<Self> {
        let mut errors = Self::default();

        while let Some(&kind) = records.first() {
            let record = records.get(..u16_at(records, 2)?.into())?;

            match kind {
                libc::FAN_EVENT_INFO_TYPE_ERROR => {
                    errors.errno = u32_at(record, 4)? as i32;
                    errors.count = u32_at(record, 8)?;
                }
                // After the header: the ID of the filesystem, then length and type of the handle.
                libc::FAN_EVENT_INFO_TYPE_FID if u32_at(record, 16)? == INODE_HANDLE => {
                    errors.inode = Some(u64::from_ne_bytes(*record.get(20..)?.first_chunk()?));
                }
                _ => {}
            }
            records = records.get(record.len().max(4)..)?;
        }
        Some(errors)
    }
}

/// A listener.
pub struct Listener(File);

impl Listener {
    /// Starts to listen for the errors of the filesystem that is mounted at `path`.
    pub fn new(path: &Path) -> io::Result<Self> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: fanotify_init() takes integers only.
        let fd = unsafe { libc::fanotify_init(libc::FAN_CLASS_NOTIF | libc::FAN_REPORT_FID, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: fanotify_init() has just opened the descriptor, and nothing else owns it.
        let file = unsafe { File::from_raw_fd(fd) };
        // SAFETY: `path` is a C string that outlives the call.
        let ret = unsafe {
            libc::fanotify_mark(
                fd,
                libc::FAN_MARK_ADD | libc::FAN_MARK_FILESYSTEM,
                libc::FAN_FS_ERROR,
                libc::AT_FDCWD,
                path.as_ptr(),
            )
        };
        if ret < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(file))
    }

    /// Waits for events, and returns them.
    pub fn next(&mut self) -> io::Result<Vec<Errors>> {
        let mut buffer = [0; 4096];
        let len = self.0.read(&mut buffer)?;
        let mut events = &buffer[..len];
        let mut errors = Vec::new();

        while let Some(len) = u32_at(events, 0).filter(|len| *len as usize >= METADATA_LEN) {
            let (event, rest) = events
                .split_at_checked(len as usize)
                .ok_or(io::ErrorKind::InvalidData)?;

            errors.push(Errors::parse(&event[METADATA_LEN..]).ok_or(io::ErrorKind::InvalidData)?);
            events = rest;
        }
        Ok(errors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read() {
        let mut records = vec![libc::FAN_EVENT_INFO_TYPE_ERROR, 0, 12, 0];
        records.extend(5_i32.to_ne_bytes());
        records.extend(3_u32.to_ne_bytes());
        records.extend([libc::FAN_EVENT_INFO_TYPE_FID, 0, 36, 0]);
        records.extend([0; 8]);
        records.extend(12_u32.to_ne_bytes());
        records.extend(INODE_HANDLE.to_ne_bytes());
        records.extend(77_u64.to_ne_bytes());
        records.extend([0; 8]);

        let errors = Errors::parse(&records).unwrap();
        assert_eq!(errors.to_string(), "inode 77: errno 5, 3 in all");
        assert_eq!(Errors::parse(&records[..13]), None);
    }
}
