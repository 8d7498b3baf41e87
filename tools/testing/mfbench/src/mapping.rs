// SPDX-License-Identifier: GPL-2.0

//! Mapped files.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nix::sys::mman::{mmap, mmap_anonymous, munmap, MapFlags, ProtFlags};

/// The size of a page in bytes.
pub const PAGE_SIZE: usize = 4096;

const READ_WRITE: ProtFlags = ProtFlags::PROT_READ.union(ProtFlags::PROT_WRITE);

/// Mapped memory. Dropping the value unmaps it.
pub struct Mapping {
    start: NonNull<libc::c_void>,
    len: usize,
    // The whole mapping, of which `start` and `len` are the aligned part.
    room: NonNull<libc::c_void>,
    room_len: NonZeroUsize,
}

impl Mapping {
    /// Maps `len` bytes of memory.
    pub fn anonymous(len: usize) -> io::Result<Self> {
        let room_len = NonZeroUsize::new(len).ok_or(io::ErrorKind::InvalidInput)?;

        // SAFETY: mmap() chooses the address, so it replaces no other mapping.
        let room = unsafe { mmap_anonymous(None, room_len, READ_WRITE, MapFlags::MAP_PRIVATE) }?;
        Ok(Self {
            start: room,
            len,
            room,
            room_len,
        })
    }

    /// Maps `len` bytes of a file from `offset` on, shared.
    ///
    /// The address is a multiple of `align`, a power of two.
    pub fn of_file(file: &File, offset: usize, len: usize, align: usize) -> io::Result<Self> {
        // Reserve enough room for an aligned address. The mapping of the file replaces a part of
        // the room.
        let mut mapping = Self::anonymous(len + align)?;
        let start = (mapping.room.as_ptr() as usize).next_multiple_of(align);
        let file_len = NonZeroUsize::new(len).ok_or(io::ErrorKind::InvalidInput)?;

        // SAFETY: The `len` bytes from `start` are within the room of `len + align` bytes, and no
        // reference points into the room.
        mapping.start = unsafe {
            mmap(
                NonZeroUsize::new(start),
                file_len,
                READ_WRITE,
                MapFlags::MAP_SHARED | MapFlags::MAP_FIXED,
                file,
                offset as i64,
            )
        }?;
        mapping.len = len;
        Ok(mapping)
    }

    /// The address of the byte at `offset`.
    pub fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset < self.len);
        // SAFETY: `offset` is less than `self.len`, and that many bytes are mapped at `self.start`.
        unsafe { self.start.as_ptr().cast::<u8>().add(offset) }
    }

    /// Reads the byte at `offset`.
    pub fn read(&self, offset: usize) {
        // SAFETY: `at()` returns a mapped byte, and the mapping is readable.
        unsafe { self.at(offset).read_volatile() };
    }

    /// Writes to the byte at `offset`.
    pub fn write(&self, offset: usize) {
        // SAFETY: `at()` returns a mapped byte, and the mapping is writable.
        unsafe { self.at(offset).write_volatile(1) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mmap() returned `room` for `room_len` bytes, and no reference points into them.
        let _ = unsafe { munmap(self.room, self.room_len.get()) };
    }
}
