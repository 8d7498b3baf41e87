// SPDX-License-Identifier: GPL-2.0

//! Media that contain a filesystem: a device, an image file, or an image in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;

use crate::format::{Block, BLOCK_SHIFT, BLOCK_SIZE};

/// A medium of blocks of 4 KiB.
pub trait Media {
    /// Number of whole blocks.
    fn blocks(&self) -> u64;

    /// Reads whole blocks, starting at block number `block`.
    ///
    /// # Errors
    ///
    /// - `EIO` if a block is bad.
    fn read(&self, block: u64, bytes: &mut [u8]) -> io::Result<()>;

    /// Writes whole blocks, starting at block number `block`.
    ///
    /// # Errors
    ///
    /// - `EIO` if a block is bad, and the write does not clear it.
    fn write(&mut self, block: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes all writes durable.
    ///
    /// # Errors
    ///
    /// - `EIO` if a write failed.
    fn sync(&mut self) -> io::Result<()>;

    /// Reads one block.
    ///
    /// # Errors
    ///
    /// - As [`read()`](Self::read).
    fn read_block(&self, block: u64) -> io::Result<Box<Block>> {
        let mut bytes = Box::new([0; BLOCK_SIZE]);

        self.read(block, bytes.as_mut_slice())?;
        Ok(bytes)
    }
}

/// A block device or an image file.
pub struct FileMedia {
    file: File,
    blocks: u64,
}

impl FileMedia {
    /// Makes a medium of an open file.
    ///
    /// # Errors
    ///
    /// - The error of `lseek()`.
    pub fn new(mut file: File) -> io::Result<Self> {
        let blocks = file.seek(SeekFrom::End(0))? >> BLOCK_SHIFT;

        Ok(Self { file, blocks })
    }
}

/// A buffer that is aligned to a block, which direct I/O needs.
struct Aligned {
    memory: Vec<u8>,
    bytes: Range<usize>,
}

impl Aligned {
    fn new(len: usize) -> Self {
        let memory = vec![0; len + BLOCK_SIZE];
        let start = memory.as_ptr().align_offset(BLOCK_SIZE);

        Self {
            memory,
            bytes: start..start + len,
        }
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.bytes.clone()]
    }
}

impl Media for FileMedia {
    fn blocks(&self) -> u64 {
        self.blocks
    }

    fn read(&self, block: u64, bytes: &mut [u8]) -> io::Result<()> {
        let mut aligned = Aligned::new(bytes.len());

        self.file
            .read_exact_at(aligned.bytes(), block << BLOCK_SHIFT)?;
        bytes.copy_from_slice(aligned.bytes());
        Ok(())
    }

    fn write(&mut self, block: u64, bytes: &[u8]) -> io::Result<()> {
        let mut aligned = Aligned::new(bytes.len());

        aligned.bytes().copy_from_slice(bytes);
        self.file
            .write_all_at(aligned.bytes(), block << BLOCK_SHIFT)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// An image in memory. Blocks that were never written are zeroes. A write clears a bad block.
#[derive(Clone, Debug, Default)]
pub struct MemoryMedia {
    /// Number of blocks.
    pub blocks: u64,
    /// The blocks that are not zeroes.
    pub contents: BTreeMap<u64, Box<Block>>,
    /// The bad blocks.
    pub bad: BTreeSet<u64>,
}

impl Media for MemoryMedia {
    fn blocks(&self) -> u64 {
        self.blocks
    }

    fn read(&self, block: u64, bytes: &mut [u8]) -> io::Result<()> {
        for (number, to) in (block..).zip(bytes.chunks_mut(BLOCK_SIZE)) {
            if number >= self.blocks {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if self.bad.contains(&number) {
                return Err(Errno::EIO.into());
            }
            match self.contents.get(&number) {
                Some(from) => to.copy_from_slice(&from[..to.len()]),
                None => to.fill(0),
            }
        }
        Ok(())
    }

    fn write(&mut self, block: u64, bytes: &[u8]) -> io::Result<()> {
        for (number, from) in (block..).zip(bytes.chunks(BLOCK_SIZE)) {
            if number >= self.blocks {
                return Err(Errno::ENOSPC.into());
            }
            self.bad.remove(&number);
            if from.iter().all(|byte| *byte == 0) {
                self.contents.remove(&number);
            } else {
                let to = self
                    .contents
                    .entry(number)
                    .or_insert_with(|| Box::new([0; BLOCK_SIZE]));

                to[..from.len()].copy_from_slice(from);
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}
