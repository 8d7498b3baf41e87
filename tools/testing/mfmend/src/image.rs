// SPDX-License-Identifier: GPL-2.0

//! An image in memory, and functions that damage it.

use mendfs::check::{self, Checked};
use mendfs::checksum;
use mendfs::format::{
    Chunk, Extent, Geometry, Header, Inode, Magic, Record, Secret, Superblock, Time, Transaction,
    Uuid, BLOCK_SIZE, COPIES, ROOT, SLOTS, UNITS, UNIT_SIZE,
};
use mendfs::make;
use mendfs::media::{Media, MemoryMedia};
use mendfs::report::Report;

/// The time stamp in all images.
pub const NOW: Time = Time {
    seconds: 1_800_000_000,
    nanoseconds: 5,
};
/// The UUID of all images.
pub const UUID: Uuid = [7; 16];
/// Number of blocks of an image.
pub const BLOCKS: u64 = 1040;

/// `/dir`, in a populated image.
pub const DIRECTORY: u64 = 3;
/// `/file`, which is also `/dir/hard link`, in a populated image.
pub const FILE: u64 = 5;
/// A reflink copy of `/file` with a long name in `/dir/inner`, in a populated image.
pub const CLONE: u64 = 7;
/// `/dir/inner/link`, in a populated image.
pub const LINK: u64 = 9;
/// `/dir/inner`, in a populated image.
pub const INNER: u64 = 11;
/// `/dir/inner/fifo`, in a populated image.
pub const FIFO: u64 = 13;
/// The address of the extent of `/file`, in a populated image.
pub const FILE_EXTENT: u64 = 15;
/// The address of the target of `/dir/inner/link`, in a populated image.
pub const TARGET: u64 = 16;
/// An address of a free unit, after all records in block 0 of a populated image.
pub const FIRST_FREE: u64 = 40;
/// Blocks of the first chunk of the metadata, in a populated image.
pub const FIRST_BLOCKS: u64 = 4;
/// The second chunk, in a populated image.
pub const SECOND: Chunk = Chunk {
    number: 1,
    copies: [544, 992],
};
/// The address of an attribute of `/file` in the second chunk, in a populated image.
pub const SECOND_ATTRIBUTE: u64 = (FIRST_BLOCKS + 3) * UNITS + 2;

/// An image in memory.
#[derive(Clone)]
pub struct Image {
    /// The blocks.
    pub media: MemoryMedia,
    /// The superblock.
    pub superblock: Superblock,
}

impl Image {
    /// An empty image, as `mkfs.mendfs` makes it.
    pub fn empty(metadata: u64) -> Self {
        let mut image = Self {
            media: MemoryMedia {
                blocks: BLOCKS,
                ..MemoryMedia::default()
            },
            superblock: Superblock {
                uuid: UUID,
                geometry: Geometry::new(BLOCKS, 8, metadata).expect("it fits"),
                label: [0; 32],
                secret: Secret([9; 16]),
                mount_uuid: UUID,
            },
        };

        make::make(&mut image.media, &image.superblock, NOW, |_, _| ()).expect("memory is good");
        image
    }

    /// An image with records of all kinds.
    pub fn populated() -> Self {
        let mut image = Self::empty(FIRST_BLOCKS);
        let data = image.data();
        let inode = |mode, links, size, parent| {
            Record::Inode(Inode {
                mode,
                links,
                size,
                parent,
                generation: 1,
                ..make::root(NOW)
            })
        };
        let long = "long".repeat(63);

        image.put(ROOT, ROOT, &inode(0o040_755, 3, 0, ROOT));
        image.put(DIRECTORY, DIRECTORY, &inode(0o040_700, 3, 0, ROOT));
        image.put(FILE, FILE, &inode(0o100_644, 2, 5000, 0));
        image.put(CLONE, CLONE, &inode(0o100_600, 1, 0, 0));
        image.put(LINK, LINK, &inode(0o120_777, 1, 6, 0));
        image.put(INNER, INNER, &inode(0o040_755, 2, 0, DIRECTORY));
        image.put(FIFO, FIFO, &inode(0o010_644, 1, 0, 0));
        image.put(FILE_EXTENT, FILE, &extent(0, data, 2));
        image.put(TARGET, LINK, &Record::Target(b"target"));
        // The reflink copy maps one block twice, and has blocks after the end of the file.
        image.put(17, CLONE, &extent(0, data, 2));
        image.put(18, CLONE, &extent(7, data + 1, 1));
        image.put(19, CLONE, &extent(100, data + 3, 4));
        image.put(
            20,
            0,
            &Record::Bad {
                block: data + 20,
                count: 2,
            },
        );
        image.put(21, ROOT, &name(DIRECTORY, 0o040_000, "dir"));
        image.put(22, ROOT, &name(FILE, 0o100_000, "file"));
        image.put(23, DIRECTORY, &name(FILE, 0o100_000, "hard link"));
        image.put(24, DIRECTORY, &name(INNER, 0o040_000, "inner"));
        image.put(25, INNER, &name(LINK, 0o120_000, "link"));
        image.put(26, INNER, &name(FIFO, 0o010_000, "fifo"));
        image.put(UNITS + 1, INNER, &name(CLONE, 0o100_000, &long));
        image.put(
            UNITS + 10,
            FILE,
            &Record::Attribute {
                name: b"user.one",
                value: &[0; 500],
            },
        );
        image.add_chunk(0, SECOND);
        image.put(
            SECOND_ATTRIBUTE,
            FILE,
            &Record::Attribute {
                name: b"user.two",
                value: b"2",
            },
        );
        image
    }

    /// Writes a chunk without records, and its record to chunk `before`.
    pub fn add_chunk(&mut self, before: u64, chunk: Chunk) {
        let geometry = self.superblock.geometry;

        for number in geometry.chunk_blocks(chunk.number) {
            let mut block = [0; BLOCK_SIZE];

            chunk.seal(&self.superblock, number, 0, &mut block, checksum);
            for copy in 0..COPIES {
                let place = chunk.place(&geometry, copy, number);

                self.media.write(place, &block).expect("memory is good");
            }
        }
        self.put(geometry.link_address(before), 0, &Record::Chunk(chunk));
    }

    /// The chunk that contains a metadata block: the first or the second one.
    pub fn chunk_of(&self, number: u64) -> Chunk {
        match self.superblock.geometry.chunk_of(number) {
            0 => self.superblock.geometry.first_chunk(),
            _ => SECOND,
        }
    }

    /// The block of the device with a copy of a metadata block.
    pub fn place(&self, copy: u64, number: u64) -> u64 {
        let chunk = self.chunk_of(number);

        chunk.place(&self.superblock.geometry, copy, number)
    }

    /// The first block for data.
    pub fn data(&self) -> u64 {
        self.superblock.geometry.data().start
    }

    /// Changes both copies of a metadata block, and seals them.
    pub fn edit(&mut self, number: u64, change: impl Fn(&mut [u8])) {
        for copy in 0..COPIES {
            self.edit_copy(copy, number, 0, &change);
        }
    }

    /// Changes one copy of a metadata block, and seals it.
    pub fn edit_copy(&mut self, copy: u64, number: u64, sequence: u64, change: impl Fn(&mut [u8])) {
        let at = self.place(copy, number);
        let mut block = self.media.read_block(at).expect("memory is good");

        change(block.as_mut_slice());
        let chunk = self.chunk_of(number);

        chunk.seal(&self.superblock, number, sequence, &mut block, checksum);
        self.media
            .write(at, block.as_slice())
            .expect("memory is good");
    }

    /// Writes a record to an address, in both copies.
    pub fn put(&mut self, address: u64, owner: u64, record: &Record<'_>) {
        self.edit(address / UNITS, |block| {
            let start = (address % UNITS) as usize * UNIT_SIZE;
            let len = record.unit_count() as usize * UNIT_SIZE;

            record.write(owner, &mut block[start..start + len]);
        });
    }

    /// Changes an inode, in both copies.
    pub fn change(&mut self, number: u64, change: impl Fn(&mut Inode)) {
        self.edit(number / UNITS, |block| {
            let start = (number % UNITS) as usize * UNIT_SIZE;
            let bytes = &mut block[start..start + 2 * UNIT_SIZE];
            let Ok((owner, Record::Inode(mut inode))) = Record::read(bytes) else {
                panic!("no inode {number}");
            };

            change(&mut inode);
            Record::Inode(inode).write(owner, bytes);
        });
    }

    /// Zeroes units, in both copies.
    pub fn free(&mut self, address: u64, count: usize) {
        self.edit(address / UNITS, |block| {
            let start = (address % UNITS) as usize * UNIT_SIZE;

            block[start..start + count * UNIT_SIZE].fill(0);
        });
    }

    /// Flips the lowest bit of byte `at` in a block of the device. Does not update its checksum.
    pub fn flip(&mut self, block: u64, at: usize) {
        let mut bytes = self.media.read_block(block).expect("memory is good");

        bytes[at] ^= 1;
        self.media
            .write(block, bytes.as_slice())
            .expect("memory is good");
    }

    /// Writes a transaction with these units to one copy of the journal. The caller includes the
    /// headers of the changed blocks.
    pub fn log(&mut self, sequence: u64, copy: u64, units: &[(u64, [u8; UNIT_SIZE])]) {
        let slot = sequence % SLOTS;
        let mut bytes = vec![0; self.superblock.geometry.slot_size()];
        let size = Transaction::size(units.len());

        Transaction::set_count(&mut bytes, units.len() as u32);
        for (index, (address, unit)) in units.iter().enumerate() {
            Transaction::set_unit(&mut bytes, units.len(), index, *address, unit);
        }
        Header {
            magic: Magic::Journal,
            uuid: UUID,
            address: slot,
            sequence,
        }
        .seal(&mut bytes[..size], checksum);
        self.media
            .write(self.superblock.geometry.slot(copy, slot), &bytes)
            .expect("memory is good");
    }

    /// Checks the image, which must have a filesystem.
    pub fn check(&self) -> Checked {
        check::check(&self.media, NOW).expect("there is a filesystem")
    }

    /// Repairs the image, and checks that it is clean afterwards.
    pub fn repair(&mut self) -> Report {
        let Checked { report, repair } = self.check();
        let before = self.media.clone();

        assert_eq!(report.unrepairable, 0, "{:#?}", report.findings);
        repair.write(&mut self.media).expect("memory is good");
        if report.findings.is_empty() {
            assert_eq!(before.contents, self.media.contents);
        }
        self.expect_clean();
        report
    }

    /// Checks that fsck finds nothing.
    pub fn expect_clean(&self) {
        let again = self.check().report;

        assert!(again.findings.is_empty(), "{:#?}", again.findings);
    }

    /// Lists all records, as `fsck.mendfs --list` prints them.
    pub fn list(&self) -> Vec<String> {
        check::list(&self.media)
            .expect("there is a filesystem")
            .collect()
    }

    /// Whether the listed line of a record contains `what`.
    pub fn lists(&self, what: &str) -> bool {
        self.list().iter().any(|line| line.contains(what))
    }
}

/// An extent.
pub fn extent(file_block: u64, block: u64, count: u64) -> Record<'static> {
    Record::Extent(Extent {
        file_block,
        block,
        count,
    })
}

/// A name.
pub fn name(target: u64, kind: u32, name: &str) -> Record<'_> {
    Record::Name {
        target,
        kind,
        name: name.as_bytes(),
    }
}
