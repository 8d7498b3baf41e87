// SPDX-License-Identifier: GPL-2.0

//! A block device with direct I/O, because a filesystem with DAX bypasses the page cache.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use mendfs::format::{Block, BLOCK_SHIFT, BLOCK_SIZE};
use mendfs::media::{Media, MemoryMedia};

/// The maximum number of blocks in one read or write.
pub const CHUNK: usize = 32;

/// A buffer with the alignment that `O_DIRECT` needs.
#[repr(align(4096))]
struct Buffer([u8; CHUNK * BLOCK_SIZE]);

/// An open device.
pub struct Device {
    file: File,
    buffer: Box<Buffer>,
}

impl Device {
    /// Opens a device for reading and writing.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(libc::O_DIRECT)
                .open(path)?,
            buffer: Box::new(Buffer([0; CHUNK * BLOCK_SIZE])),
        })
    }

    /// Writes at most [`CHUNK`] blocks of an image.
    pub fn write(&mut self, image: &MemoryMedia, blocks: Range<u64>) -> io::Result<()> {
        let start = blocks.start << BLOCK_SHIFT;
        let bytes = self.part(&blocks);

        image.read(blocks.start, bytes)?;

        let len = bytes.len();

        self.file.write_all_at(&self.buffer.0[..len], start)
    }

    /// Reads at most [`CHUNK`] blocks into an image.
    pub fn read(&mut self, image: &mut MemoryMedia, blocks: Range<u64>) -> io::Result<()> {
        let start = blocks.start << BLOCK_SHIFT;
        let len = self.part(&blocks).len();

        self.file.read_exact_at(&mut self.buffer.0[..len], start)?;
        image.write(blocks.start, &self.buffer.0[..len])
    }

    fn part(&mut self, blocks: &Range<u64>) -> &mut [u8] {
        let len = (blocks.end - blocks.start) as usize * size_of::<Block>();

        &mut self.buffer.0[..len]
    }
}
