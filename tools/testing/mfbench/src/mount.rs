// SPDX-License-Identifier: GPL-2.0

//! Mounts of mendfs.

use std::error::Error;
use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use mendfs::checksum;
use mendfs::device;
use mendfs::format::{
    Block, Extent, Fault, Geometry, Inode, Record, Secret, Superblock, Time, BLOCK_SHIFT,
    BLOCK_SIZE, COPIES, ROOT, UNITS, UNIT_SIZE,
};
use mendfs::make;
use mendfs::media::{FileMedia, Media};
use nix::mount::{mount, umount, MsFlags};

use crate::clock;

/// Number of extents of a file.
const EXTENTS: u64 = 1000;

/// Number of blocks of the journal.
const JOURNAL: u64 = 64;

/// The metadata blocks, which are filled with records from the first to the last.
struct Table {
    blocks: Vec<Block>,
    next: u64,
}

impl Table {
    fn new() -> Self {
        Self {
            blocks: Vec::new(),
            next: UNITS,
        }
    }

    /// Allocates units for a record. Returns its address.
    fn allocate(&mut self, record: &Record<'_>) -> u64 {
        if self.next + record.unit_count() > UNITS {
            self.blocks.push([0; BLOCK_SIZE]);
            self.next = 1;
        }

        let address = (self.blocks.len() as u64 - 1) * UNITS + self.next;

        self.next += record.unit_count();
        address
    }

    fn put(&mut self, address: u64, inode: u64, record: &Record<'_>) {
        let at = (address % UNITS) as usize * UNIT_SIZE;
        let len = record.unit_count() as usize * UNIT_SIZE;

        record.write(
            inode,
            &mut self.blocks[(address / UNITS) as usize][at..at + len],
        );
    }

    /// Adds a record of `inode`. If `inode` is [`None`], the record itself is an inode. Returns the
    /// address of the record.
    fn add(&mut self, inode: Option<u64>, record: &Record<'_>) -> u64 {
        let address = self.allocate(record);

        self.put(address, inode.unwrap_or(address), record);
        address
    }

    /// Adds a file of scattered blocks, each between two holes.
    fn add_file(&mut self, number: u64, geometry: &Geometry, now: Time) {
        let data = geometry.data();
        let inode = self.add(
            None,
            &Record::Inode(Inode {
                mode: Inode::REGULAR | 0o600,
                links: 1,
                size: (2 * EXTENTS) << BLOCK_SHIFT,
                parent: 0,
                ..make::root(now)
            }),
        );

        for index in 0..EXTENTS {
            // The prime scatters neighbours in the file over the device. If there are more extents
            // than blocks, files share blocks.
            let block = data.start + (number * EXTENTS + index) * 7919 % (data.end - data.start);

            self.add(
                Some(inode),
                &Record::Extent(Extent {
                    file_block: 2 * index,
                    block,
                    count: 1,
                }),
            );
        }
        self.add(
            Some(ROOT),
            &Record::Name {
                target: inode,
                kind: Inode::REGULAR,
                name: format!("file{number}").as_bytes(),
            },
        );
    }
}

/// Makes a filesystem with this number of files.
fn make_files(media: &mut FileMedia, files: u64) -> io::Result<()> {
    // A file takes at most one block more than its extents fill. The last unit of the chunk is a
    // link, not a record.
    let metadata = files * (EXTENTS / (UNITS - 1) + 2) + 2;
    let superblock = Superblock {
        uuid: [1; 16],
        geometry: Geometry::new(media.blocks(), JOURNAL, metadata)
            .map_err(|fault: Fault| io::Error::other(fault.to_string()))?,
        label: [0; 32],
        secret: Secret([1; 16]),
        mount_uuid: [1; 16],
    };
    let now = device::now();
    let mut table = Table::new();

    table.add(None, &Record::Inode(make::root(now)));
    for number in 0..files {
        table.add_file(number, &superblock.geometry, now);
    }

    let chunk = superblock.geometry.first_chunk();

    make::make(media, &superblock, now, |_, _| ())?;
    for (number, block) in (0..).zip(&mut table.blocks) {
        chunk.seal(&superblock, number, 0, block, checksum);
        for copy in 0..COPIES {
            media.write(chunk.place(&superblock.geometry, copy, number), block)?;
        }
    }
    media.sync()
}

/// Makes a mendfs with this number of extents on `disk`, and counts the instructions of its mount.
pub fn run(disk: &Path, directory: &Path, extents: u64) -> Result<u64, Box<dyn Error>> {
    let file = OpenOptions::new().read(true).write(true).open(disk)?;

    make_files(&mut FileMedia::new(file)?, extents / EXTENTS)?;

    let (count, mounted) = clock::count(|| {
        mount(
            Some(disk),
            directory,
            Some("mendfs"),
            MsFlags::empty(),
            None::<&str>,
        )
    });

    mounted?;
    umount(directory)?;
    Ok(count)
}
