// SPDX-License-Identifier: GPL-2.0

//! Checks that damage is found and repaired, and that no image does harm.

use std::ops::Range;

use mendfs::check::{self, Checked};
use mendfs::checksum;
use mendfs::format::{
    Extent, Geometry, Header, Inode, Magic, Record, Superblock, Time, Transaction, Uuid,
    BLOCK_SIZE, COPIES, ROOT, SLOTS, UNITS, UNIT_SIZE,
};
use mendfs::make;
use mendfs::media::{Media, MemoryMedia};
use mendfs::report::Class::{self, Damage, Loss, Note};
use mendfs::report::Report;
use proptest::prelude::RngCore;
use proptest::test_runner::{RngAlgorithm, TestRng};

const NOW: Time = Time {
    seconds: 1_800_000_000,
    nanoseconds: 5,
};
const UUID: Uuid = [7; 16];
const BLOCKS: u64 = 1040;

/// The inodes of a populated image, by their addresses.
const DIRECTORY: u64 = 3;
const FILE: u64 = 5;
const CLONE: u64 = 7;
const LINK: u64 = 9;
const INNER: u64 = 11;
const FIFO: u64 = 13;
/// Records that do not move either.
const FILE_EXTENT: u64 = 15;
const TARGET: u64 = 16;
const FIRST_FREE: u64 = 40;

/// An image in memory.
#[derive(Clone)]
struct Image {
    media: MemoryMedia,
    superblock: Superblock,
}

impl Image {
    /// As `mkfs.mendfs` makes it.
    fn empty(metadata: u64) -> Self {
        let mut image = Self {
            media: MemoryMedia {
                blocks: BLOCKS,
                ..MemoryMedia::default()
            },
            superblock: Superblock {
                uuid: UUID,
                geometry: Geometry::new(BLOCKS, 8, metadata).expect("it fits"),
                label: [0; 32],
            },
        };

        make::make(&mut image.media, &image.superblock, NOW, |_, _| ()).expect("memory is good");
        image
    }

    /// One with something of everything.
    fn populated() -> Self {
        let mut image = Self::empty(4);
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
        // A clone, of which one block is there twice, and some is beyond the end of the file.
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
        image
    }

    /// The first block for data.
    fn data(&self) -> u64 {
        self.superblock.geometry.data().start
    }

    /// Changes a metadata block, in both copies, and seals it.
    fn edit(&mut self, number: u64, change: impl Fn(&mut [u8])) {
        for copy in 0..COPIES {
            self.edit_copy(copy, number, 0, &change);
        }
    }

    fn edit_copy(&mut self, copy: u64, number: u64, sequence: u64, change: impl Fn(&mut [u8])) {
        let at = self.superblock.geometry.metadata(copy, number);
        let mut block = self.media.read_block(at).expect("memory is good");

        change(block.as_mut_slice());
        make::seal(&mut block, &self.superblock, number, sequence);
        self.media
            .write(at, block.as_slice())
            .expect("memory is good");
    }

    /// Puts a record to an address.
    fn put(&mut self, address: u64, owner: u64, record: &Record<'_>) {
        self.edit(address / UNITS, |block| {
            let start = (address % UNITS) as usize * UNIT_SIZE;
            let len = record.unit_count() as usize * UNIT_SIZE;

            record.write(owner, &mut block[start..start + len]);
        });
    }

    /// Changes an inode.
    fn change(&mut self, number: u64, change: impl Fn(&mut Inode)) {
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

    /// Zeroes units.
    fn free(&mut self, address: u64, count: usize) {
        self.edit(address / UNITS, |block| {
            let start = (address % UNITS) as usize * UNIT_SIZE;

            block[start..start + count * UNIT_SIZE].fill(0);
        });
    }

    /// Flips a bit of a block of the device, checksum or not.
    fn flip(&mut self, block: u64, at: usize) {
        let mut bytes = self.media.read_block(block).expect("memory is good");

        bytes[at] ^= 1;
        self.media
            .write(block, bytes.as_slice())
            .expect("memory is good");
    }

    /// A transaction that replaces units, with the headers that go with them.
    fn log(&mut self, sequence: u64, copy: u64, units: &[(u64, [u8; UNIT_SIZE])]) {
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

    fn check(&self) -> Checked {
        check::check(&self.media, NOW).expect("there is a filesystem")
    }

    /// Repairs the image, and checks that it is clean then.
    fn repair(&mut self) -> Report {
        let Checked { report, repair } = self.check();
        let before = self.media.clone();

        assert_eq!(report.hopeless, 0, "{:#?}", report.findings);
        repair.write(&mut self.media).expect("memory is good");
        if report.findings.is_empty() {
            assert_eq!(before.contents, self.media.contents);
        }
        self.expect_clean();
        report
    }

    fn expect_clean(&self) {
        let again = self.check().report;

        assert!(again.findings.is_empty(), "{:#?}", again.findings);
    }

    /// All records.
    fn list(&self) -> Vec<String> {
        let mut lines = Vec::new();

        check::list(&self.media, |line| {
            lines.push(line.into());
            Ok(())
        })
        .expect("there is a filesystem");
        lines
    }

    fn lists(&self, what: &str) -> bool {
        self.list().iter().any(|line| line.contains(what))
    }
}

fn extent(file_block: u64, block: u64, count: u64) -> Record<'static> {
    Record::Extent(Extent {
        file_block,
        block,
        count,
    })
}

fn name(target: u64, kind: u32, name: &str) -> Record<'_> {
    Record::Name {
        target,
        kind,
        name: name.as_bytes(),
    }
}

/// Damages a populated image, checks that exactly the findings `expected` come, and that the image
/// is clean once it is repaired.
fn found(damage: impl FnOnce(&mut Image), expected: &[(Class, &str)]) -> Image {
    let mut image = Image::populated();

    image.expect_clean();
    damage(&mut image);

    let report = image.repair();
    let findings: Vec<_> = report
        .findings
        .iter()
        .map(|finding| (finding.class, finding.to_string()))
        .collect();

    for ((class, what), (expected_class, expected)) in findings.iter().zip(expected) {
        assert_eq!(class, expected_class, "{what}");
        assert!(what.contains(expected), "\"{what}\", not \"{expected}\"");
    }
    assert_eq!(findings.len(), expected.len(), "{findings:#?}");
    image
}

#[test]
fn new_image_is_clean() {
    for metadata in [1, 2, 400] {
        let mut image = Image::empty(metadata);
        let report = image.repair();

        assert_eq!(report.statistics.inodes, 1);
        assert_eq!(report.statistics.used_units, 2);
        assert_eq!(report.uuid, UUID);
    }
}

#[test]
fn populated_image_is_clean() {
    let report = Image::populated().repair();

    assert_eq!(report.statistics.inodes, 7);
    assert_eq!(report.statistics.directories, 3);
    assert_eq!(report.statistics.used_blocks, 6);
    assert_eq!(report.statistics.names, 7);
}

#[test]
fn old_contents_are_wiped() {
    let mut image = Image::empty(1);

    image.media.contents.clear();
    for block in [0, 15, BLOCKS - 16, BLOCKS - 1] {
        image.flip(block, 0);
    }
    make::make(&mut image.media, &image.superblock, NOW, |_, _| ()).expect("memory is good");
    assert!(!image.media.contents.contains_key(&15));
    assert!(!image.media.contents.contains_key(&(BLOCKS - 16)));
    image.expect_clean();
}

#[test]
fn superblock_from_other_copy() {
    found(
        |i| i.flip(0, 50),
        &[(Damage, "superblock 0: wrong checksum")],
    );
    found(
        |i| i.flip(BLOCKS - 1, 5),
        &[(Damage, "superblock 1: not a structure")],
    );
    found(
        |i| i.media.bad.extend([0]),
        &[(Damage, "superblock 0: Input/output error")],
    );
}

#[test]
fn superblock_of_another_filesystem_loses() {
    for copy in 0..COPIES {
        found(
            |i| {
                let mut other = i.superblock;
                let mut block = [0; BLOCK_SIZE];

                other.uuid = [8; 16];
                other.write(&mut block, checksum);
                i.media
                    .write(i.superblock.geometry.superblock(copy), &block)
                    .expect("memory is good");
            },
            &[(Damage, "it is not that of this filesystem")],
        );
    }
}

#[test]
fn grown_device_has_superblock_inside() {
    let mut image = Image::populated();

    image.media.blocks += 100;
    image.expect_clean();
}

#[test]
fn nothing_is_left() {
    let mut image = Image::populated();

    image.flip(0, 50);
    image.flip(BLOCKS - 1, 50);
    assert!(check::check(&image.media, NOW).is_err());

    let mut image = Image::populated();

    image.media.blocks -= 1;
    assert!(check::check(&image.media, NOW).is_err());
    image.media.blocks = 0;
    assert!(check::check(&image.media, NOW).is_err());

    let mut image = Image::populated();

    for copy in 0..COPIES {
        for number in 0..4 {
            let block = image.superblock.geometry.metadata(copy, number);

            image.flip(block, 9);
        }
    }
    assert!(check::check(&image.media, NOW).is_err());
}

#[test]
fn block_from_other_copy() {
    for copy in 0..COPIES {
        let place = format!("metadata block 1, copy {copy}: wrong checksum");
        let image = found(
            |i| i.flip(i.superblock.geometry.metadata(copy, 1), 99),
            &[(Damage, &place)],
        );

        assert_eq!(image.list(), Image::populated().list());

        let place = format!("metadata block 1, copy {copy}: Input/output error");

        found(
            |i| {
                let block = i.superblock.geometry.metadata(copy, 1);

                i.media.bad.insert(block);
            },
            &[(Damage, &place)],
        );
    }
    found(
        |i| {
            let from = i.superblock.geometry.metadata(0, 2);
            let to = i.superblock.geometry.metadata(0, 1);
            let block = i.media.read_block(from).expect("memory is good");

            i.media.write(to, block.as_slice()).expect("memory is good");
        },
        &[(Damage, "copy 0: written for another address")],
    );
}

#[test]
fn newer_copy_wins() {
    let image = found(
        |i| {
            i.log(8, 0, &[]);
            i.edit_copy(1, 0, 8, |block| {
                name(FILE, 0o100_000, "FILE").write(ROOT, &mut block[22 * 64..23 * 64]);
            });
        },
        &[(Damage, "metadata block 0, copy 0: it is not what the other")],
    );

    assert!(image.lists("\"FILE\""));
}

#[test]
fn lost_block_is_told_of() {
    let image = found(
        |i| {
            for copy in 0..COPIES {
                let block = i.superblock.geometry.metadata(copy, 1);

                i.flip(block, 99);
            }
        },
        &[
            (Loss, "metadata block 1: both copies are bad"),
            (Damage, "lost+found, is made"),
            (Loss, "inode 7 has no name: it goes to /lost+found/#7"),
        ],
    );

    assert!(image.lists("\"#7\""));
}

#[test]
fn lost_root_is_made_anew() {
    let mut image = Image::populated();

    for copy in 0..COPIES {
        let block = image.superblock.geometry.metadata(copy, 0);

        image.flip(block, 99);
    }

    let report = image.repair();

    assert!(report.losses > 2);
    assert!(image.lists("1 1 inode mode=40755"));

    // Something else is in its place, and reaches further.
    let mut image = Image::empty(1);

    image.put(ROOT, ROOT, &Record::Target(&[b'x'; 150]));

    let report = image.repair();

    assert_eq!(report.losses, 1, "{:#?}", report.findings);
    assert_eq!(image.list().len(), 1);
}

#[test]
fn journal_is_replayed() {
    let mut image = Image::populated();
    let mut newer = image.clone();

    newer.put(FIRST_FREE, ROOT, &name(FIFO, 0o010_000, "new"));
    newer.change(FIFO, |inode| inode.links = 2);
    for copy in 0..COPIES {
        newer.edit_copy(copy, 0, 4, |_| ());
    }

    let block = newer
        .media
        .read_block(newer.superblock.geometry.metadata(0, 0))
        .expect("memory is good");
    let unit = |unit: u64| {
        let bytes = block[unit as usize * UNIT_SIZE..].first_chunk();

        (unit, *bytes.expect("it is in the block"))
    };

    // The newer transaction is half written, in one copy; the older one is in the other only.
    image.log(3, 1, &[unit(FIRST_FREE), unit(FIFO)]);
    image.log(4, 0, &[unit(FIFO + 1), unit(0)]);

    let report = image.repair();

    assert!(report.is_clean() && report.is_replayed);
    assert_eq!(image.list(), newer.list());

    // What is in place is no matter any more.
    image.flip(image.superblock.geometry.slot(0, 0), 40);
    image.expect_clean();
}

#[test]
fn older_transaction_is_not_replayed() {
    let mut image = Image::populated();

    image.log(1, 0, &[(22, [0; UNIT_SIZE])]);
    image.log(4, 0, &[]);
    image.log(4, 1, &[]);
    image.expect_clean();
    // A copy that was not written the last time.
    image.log(2, 0, &[(22, [0; UNIT_SIZE])]);
    image.expect_clean();
}

#[test]
fn transaction_is_not_replayed_over_newer_blocks() {
    let image = found(
        |i| {
            for copy in 0..COPIES {
                i.edit_copy(copy, 0, 6, |_| ());
            }
            // Transaction 6 has become bad.
            i.log(5, 0, &[(22, [0; UNIT_SIZE])]);
        },
        &[(Damage, "journal: its last transaction is 5, that of the")],
    );

    assert!(image.lists("\"file\""));
}

#[test]
fn damaged_journal_is_written_anew() {
    found(
        |i| i.log(2, 0, &[(4 * UNITS, [0; UNIT_SIZE])]),
        &[(Damage, "journal 0, slot 0: unit 0: address 256 is not")],
    );
    found(
        |i| i.log(u64::MAX, 1, &[]),
        &[(Damage, "journal 1, slot 1: transaction 184467")],
    );
    found(
        |i| {
            let slot = i.superblock.geometry.slot(1, 0);

            i.media.bad.insert(slot + 1);
        },
        &[(Damage, "journal 1, slot 0: Input/output error")],
    );
    found(
        |i| {
            for copy in 0..COPIES {
                i.edit_copy(copy, 2, 9, |_| ());
            }
        },
        &[(Damage, "journal: its last transaction is 0")],
    );
}

#[test]
fn repair_is_not_undone_by_the_journal() {
    let mut image = Image::populated();
    let wrong = Inode {
        links: 9,
        ..make::root(NOW)
    };

    for copy in 0..COPIES {
        image.edit_copy(copy, 0, 5, |block| {
            Record::Inode(wrong).write(ROOT, &mut block[64..192]);
        });
    }

    let block = image
        .media
        .read_block(image.superblock.geometry.metadata(0, 0))
        .expect("memory is good");
    let units = [0, 1, 2].map(|unit: u64| {
        let bytes = block[unit as usize * UNIT_SIZE..].first_chunk();

        (unit, *bytes.expect("it is in the block"))
    });

    image.log(5, 0, &units);
    image.log(5, 1, &units);

    let report = image.repair();

    assert_eq!(report.errors, 1);
    assert!(!report.is_replayed);
    assert!(image.lists("1 1 inode mode=40755 uid=0 gid=0 links=3"));
}

#[test]
fn damaged_records_go() {
    found(
        |i| i.edit(0, |block| block[40 * 64] = 9),
        &[(Loss, "metadata block 0, unit 40: wrong length")],
    );
    found(
        |i| i.edit(0, |block| block[40 * 64..40 * 64 + 2].fill(9)),
        &[(Loss, "metadata block 0, unit 40: unknown kind")],
    );
    found(
        |i| i.edit(0, |block| block[40 * 64 + 7] = 9),
        &[(Damage, "metadata block 0, unit 40: a free unit that")],
    );
    found(
        |i| i.edit(0, |block| block[63 * 64..63 * 64 + 2].fill(2)),
        &[(Loss, "metadata block 0, unit 63: wrong length")],
    );
}

#[test]
fn inodes_are_themselves() {
    found(
        |i| i.edit(0, |block| block[FILE as usize * 64 + 8] = 77),
        &[(Damage, "inode 5 says that it is inode 77")],
    );
    found(
        |i| {
            i.change(FIFO, |inode| {
                inode.size = 1;
                inode.device = 2;
                inode.parent = 3;
            });
        },
        &[(
            Damage,
            "inode 13, of type 10000, has size 1, device number 2, parent 3",
        )],
    );
}

#[test]
fn root_is_a_directory() {
    let mut image = Image::populated();

    image.change(ROOT, |inode| inode.mode = 0o100_644);

    let report = image.repair();

    assert!(report.losses > 0);
    assert!(image.lists("\"dir\""));
}

#[test]
fn records_have_an_owner() {
    let data = Image::populated().data();

    found(
        |i| i.put(40, 77, &extent(0, data, 1)),
        &[(Loss, "unit 40: extent of inode 77, which is not there")],
    );
    found(
        |i| i.put(40, DIRECTORY, &extent(0, data, 1)),
        &[(Loss, "unit 40: extent of inode 3, which is no file")],
    );
    found(
        |i| {
            i.put(
                40,
                77,
                &Record::Attribute {
                    name: b"n",
                    value: b"",
                },
            );
        },
        &[(Loss, "unit 40: attribute of inode 77, which is not there")],
    );
    found(
        |i| i.put(40, FILE, &Record::Target(b"x")),
        &[(Loss, "target of inode 5, which is no symbolic link")],
    );
    found(
        |i| i.put(40, 77, &name(FILE, 0o100_000, "x")),
        &[(
            Loss,
            "name \"x\" in directory 77: the directory is not there",
        )],
    );
    found(
        |i| i.put(40, FILE, &name(FILE, 0o100_000, "x")),
        &[(Loss, "name \"x\" in directory 5: it is no directory")],
    );
}

#[test]
fn extents_are_data_and_do_not_overlap() {
    let Range { start, end } = Image::populated().superblock.geometry.data();

    for (block, count, kept) in [
        (start - 1, 1, None),
        (start - 1, 2, Some("file_block=51 block=512 count=1")),
        (end - 1, 5, Some("file_block=50")),
        (end, 1, None),
        (1 << 35, 1 << 35, None),
    ] {
        let image = found(
            |i| i.put(40, FILE, &extent(50, block, count)),
            &[(Loss, "unit 40: extent of inode 5: file blocks 50..")],
        );

        assert_eq!(image.lists("40 5 extent"), kept.is_some());
        assert!(image.lists(kept.unwrap_or("inode")));
    }

    let image = found(
        |i| i.put(40, FILE, &extent(1, start + 9, 2)),
        &[(Loss, "file blocks 1..3 at 521..523, they overlap")],
    );

    assert!(image.lists("file_block=2 block=522 count=1"));
    found(
        |i| i.put(40, FILE, &extent(0, start + 9, 2)),
        &[(Loss, "they overlap the extent before")],
    );
    // As large as they get.
    found(
        |i| i.put(40, FILE, &extent(Extent::MAX_FILE_BLOCK - 1, start, 1)),
        &[],
    );
}

#[test]
fn bad_ranges_are_data_and_do_not_overlap() {
    let Range { start, end } = Image::populated().superblock.geometry.data();

    for (block, count) in [
        (start - 1, 1),
        (end - 1, 2),
        (start + 19, 4),
        (start + 20, 1),
    ] {
        found(
            |i| i.put(40, 0, &Record::Bad { block, count }),
            &[(Damage, "overlap others, or are not all data")],
        );
    }
    // That a file has them is no matter.
    found(
        |i| {
            i.put(
                40,
                0,
                &Record::Bad {
                    block: start,
                    count: 1,
                },
            );
        },
        &[],
    );
    found(
        |i| i.edit(0, |block| block[20 * 64 + 8] = 5),
        &[(Damage, "unit 20: bad blocks that belong to inode 5")],
    );
}

#[test]
fn symbolic_links_have_one_target() {
    found(
        |i| i.change(LINK, |inode| inode.size = 7),
        &[(Damage, "symbolic link 9 has size 7, its target 6")],
    );
    found(
        |i| i.put(40, LINK, &Record::Target(b"other one")),
        &[(Loss, "unit 40: target of inode 9, which has another")],
    );
    found(
        |i| i.free(TARGET, 1),
        &[
            (Loss, "symbolic link 9 has no target"),
            (Loss, "name \"link\" in directory 11: inode 9 is not there"),
        ],
    );
}

#[test]
fn attributes_are_there_once() {
    let second = Record::Attribute {
        name: b"user.one",
        value: b"2",
    };

    found(
        |i| i.put(2 * UNITS + 1, FILE, &second),
        &[(Loss, "attribute \"user.one\" of inode 5, which has one")],
    );
}

#[test]
fn names_are_right() {
    found(
        |i| i.put(40, ROOT, &name(77, 0o100_000, "x\n")),
        &[(Loss, "name \"x\\n\" in directory 1: inode 77 is not there")],
    );
    found(
        |i| i.put(40, DIRECTORY, &name(ROOT, 0o040_000, "up")),
        &[(Loss, "it is the root directory")],
    );
    found(
        |i| i.put(22, ROOT, &name(FILE, 0o040_000, "file")),
        &[(
            Damage,
            "name \"file\" in directory 1: type 40000, but inode 5",
        )],
    );
    found(
        |i| i.put(40, ROOT, &name(FIFO, 0o010_000, "file")),
        &[(
            Loss,
            "name \"file\" in directory 1: the name is there twice",
        )],
    );
}

#[test]
fn directories_have_one_name() {
    found(
        |i| i.put(40, ROOT, &name(INNER, 0o040_000, "second")),
        &[(Loss, "name \"second\" in directory 1: the directory has")],
    );
    found(
        |i| i.change(INNER, |inode| inode.parent = ROOT),
        &[(Damage, "directory 11 has parent 1, but is in 3")],
    );
    found(
        |i| i.change(ROOT, |inode| inode.parent = 3),
        &[(Damage, "directory 1 has parent 3, but is in 1")],
    );
    found(
        |i| i.free(24, 1),
        &[
            (Damage, "lost+found, is made"),
            (Loss, "inode 11 has no name: it goes to /lost+found/#11"),
            (Damage, "inode 3 has 3 links, not 2"),
        ],
    );
    // In each other.
    let image = found(
        |i| i.put(21, INNER, &name(DIRECTORY, 0o040_000, "dir")),
        &[
            (Loss, "the directory is in itself"),
            (Damage, "lost+found, is made"),
            (Loss, "inode 3 has no name: it goes to /lost+found/#3"),
            (Damage, "inode 1 has 4 links, not 3"),
        ],
    );

    assert!(image.lists("\"lost+found\""));
}

#[test]
fn lost_and_found_may_be_there() {
    let image = found(
        |i| {
            i.put(21, ROOT, &name(DIRECTORY, 0o040_000, "lost+found"));
            i.put(40, DIRECTORY, &name(FIFO, 0o010_000, "#7"));
            i.change(FIFO, |inode| inode.links = 2);
            i.free(UNITS + 1, 5);
        },
        &[(Loss, "inode 7 has no name: it goes to /lost+found/#7.2")],
    );

    assert!(image.lists(" 3 name target=7 type=100000 \"#7.2\""));

    let image = found(
        |i| {
            i.put(22, ROOT, &name(FILE, 0o100_000, "lost+found"));
            i.free(UNITS + 1, 5);
        },
        &[
            (Damage, "/lost+found.2, is made"),
            (Loss, "inode 7 has no name"),
        ],
    );

    assert!(image.lists("\"#7\""));
}

#[test]
fn links_are_counted() {
    for number in [ROOT, DIRECTORY, FILE, FIFO] {
        let what = format!("inode {number} has 9 links, not");

        found(
            |i| i.change(number, |inode| inode.links = 9),
            &[(Damage, &what)],
        );
    }
    found(
        |i| i.change(FILE, |inode| inode.links = 0),
        &[(Damage, "inode 5 has 0 links, not 2")],
    );
}

#[test]
fn orphans_go() {
    let image = found(
        |i| {
            i.change(CLONE, |inode| inode.links = 0);
            i.free(UNITS + 1, 5);
        },
        &[(Note, "inode 7 was removed while open: it goes")],
    );

    assert!(!image.lists(" 7 extent"));
}

#[test]
fn full_metadata_is_told_of() {
    let mut image = Image::populated();
    let data = image.data();

    image.free(26, 1);
    for address in (27..4 * UNITS).filter(|address| address % UNITS != 0) {
        let is_used = (UNITS + 1..UNITS + 6).contains(&address)
            || (UNITS + 10..UNITS + 20).contains(&address);

        if !is_used {
            image.put(address, FILE, &extent(address, data, 1));
        }
    }
    // The freed one is the only room.
    image.put(26, FILE, &extent(10, data, 1));

    let Checked { report, repair } = image.check();

    assert_eq!(report.hopeless, 1, "{:#?}", report.findings);
    repair.write(&mut image.media).expect("memory is good");
}

/// A generator of numbers that are the same each time.
struct Random(TestRng);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0.next_u64() % end
    }

    fn pick(&mut self, choices: &[u64]) -> u64 {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// A number that may mean something.
    fn number(&mut self) -> u64 {
        let wild = self.0.next_u64();

        match self.below(6) {
            0 => self.pick(&[0, 1, u64::MAX, 1 << 63, 1 << 36, 255, BLOCKS]),
            1 => self.pick(&[ROOT, DIRECTORY, FILE, CLONE, LINK, INNER, FIFO]),
            2 => self.below(4 * UNITS),
            3 => self.below(BLOCKS),
            4 => wild,
            _ => wild >> self.below(64),
        }
    }
}

/// Changes something anywhere in the metadata, seals it, and returns the image.
fn mutate(image: &mut Image, random: &mut Random) {
    let number = random.below(4);
    let unit = match random.below(4) {
        0 => random.below(UNITS),
        _ => 1 + random.below(30),
    } as usize
        * UNIT_SIZE;
    let value = random.number();
    let at = random.below(UNIT_SIZE as u64) as usize;
    let from = (random.below(UNITS) as usize) * UNIT_SIZE;
    let bit = random.below(8);
    let copy = random.below(COPIES);
    let change = |block: &mut [u8], kind| match kind {
        0..3 => block[unit + at] ^= 1 << bit,
        3 | 4 => {
            let at = unit + (at & !7);

            block[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        5 => block.copy_within(from..from + UNIT_SIZE, unit),
        6 => block[unit..unit + UNIT_SIZE].fill(0),
        _ => block[unit + at] = value as u8,
    };

    match random.below(24) {
        kind @ 0..20 => {
            let number = if number < 3 { 0 } else { 1 };

            image.edit(number, |block| change(block, kind % 8));
        }
        20 => image.edit_copy(copy, number, value % 10, |block| change(block, 0)),
        21 => image.flip(image.superblock.geometry.metadata(copy, number), at),
        22 => {
            let address = random.number() % (5 * UNITS);
            let mut bytes = [0; UNIT_SIZE];

            change(&mut bytes.repeat(64), 7);
            bytes[at] = value as u8;
            image.log(value % 12, copy, &[(address, bytes)]);
        }
        _ => {
            let at = image.superblock.geometry.superblock(copy);
            let mut block = *image.media.read_block(at).expect("memory is good");

            block[4 + (random.below(100) as usize)] ^= 1 << bit;

            let sum = checksum(&block[4..]);

            block[..4].copy_from_slice(&sum.to_le_bytes());
            image.media.write(at, &block).expect("memory is good");
        }
    }
}

#[test]
fn mutated_images_are_repaired() {
    repair_mutated(10_000);
}

#[test]
#[ignore = "takes minutes"]
fn many_mutated_images_are_repaired() {
    repair_mutated(1_000_000);
}

fn repair_mutated(count: u64) {
    let mut random = Random(TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let populated = Image::populated();

    let mut lossy = 0;

    for number in 0..count {
        let mut image = populated.clone();

        for _ in 0..=random.below(6) {
            mutate(&mut image, &mut random);
        }
        if random.below(50) == 0 {
            image.media.blocks = random.below(BLOCKS + 10);
        }

        let Ok(Checked { report, repair }) = check::check(&image.media, NOW) else {
            continue;
        };

        lossy += u64::from(report.losses > 0);
        repair.write(&mut image.media).expect("memory is good");
        assert_eq!(report.hopeless, 0, "image {number}: {:#?}", report.findings);

        let again = image.check().report;

        assert!(
            again.findings.is_empty(),
            "image {number}: {:#?} after {:#?}",
            again.findings,
            report.findings
        );
    }
    // The images were worth it.
    assert!(lossy > count / 10, "{lossy}");
}
