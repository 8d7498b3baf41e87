// SPDX-License-Identifier: GPL-2.0

//! Checks that damage is found and repaired, and that no image does harm.

use std::ops::Range;

use mendfs::check::{self, Checked};
use mendfs::checksum;
use mendfs::format::{
    Chunk, Extent, Inode, Record, Superblock, BLOCK_SIZE, CHUNK_BLOCKS, COPIES, MAX_METADATA, ROOT,
    UNITS, UNIT_SIZE,
};
use mendfs::make;
use mendfs::media::Media;
use mendfs::report::Class::{self, Damage, Loss, Note};
use mendfs::report::Report;
use mendfs::superblock;
use mfmend::image::{
    extent, name, Image, BLOCKS, CLONE, DIRECTORY, FIFO, FILE, FIRST_BLOCKS, FIRST_FREE, INNER,
    LINK, NOW, SECOND, SECOND_ATTRIBUTE, TARGET, UUID,
};
use mfmend::mutation::mutate;
use mfmend::random::Random;

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
fn label_that_was_set_halfway_is_that_of_the_first() {
    found(
        |i| {
            let mut other = i.superblock;
            let mut block = [0; BLOCK_SIZE];

            other.label = [b'x'; 32];
            other.write(&mut block, checksum);
            i.media
                .write(i.superblock.geometry.superblock(1), &block)
                .expect("memory is good");
        },
        &[(Note, "superblock 1: it has another label")],
    );
}

#[test]
fn grown_device_has_superblock_inside() {
    let mut image = Image::populated();

    image.media.blocks += 100;
    image.expect_clean();
}

/// What is on the media when the machine stops while the filesystem grows, and all is there but the
/// first superblock. The device is `behind` blocks longer still.
fn growing(image: &mut Image, behind: u64) {
    let grown = image
        .superblock
        .geometry
        .grown(BLOCKS + 100)
        .expect("it fits");
    let superblock = Superblock {
        geometry: grown,
        ..image.superblock
    };

    image.media.blocks = grown.blocks() + behind;
    for number in 0..FIRST_BLOCKS {
        let block = image
            .media
            .read_block(image.place(0, number))
            .expect("memory is good");

        image
            .media
            .write(grown.first_chunk().place(&grown, 1, number), &*block)
            .expect("memory is good");
    }
    for block in [grown.superblock(1), image.media.blocks - 1] {
        image
            .media
            .write(block, &*superblock::image(&superblock))
            .expect("memory is good");
    }
}

#[test]
fn growth_that_was_interrupted() {
    for behind in [0, 1, 5] {
        let what = format!("block {}: left of a growth to", BLOCKS + 99 + behind);
        let image = found(|i| growing(i, behind), &[(Note, &what)]);

        assert_eq!(image.list(), Image::populated().list());
        assert!(!image.media.contents.contains_key(&(BLOCKS + 99 + behind)));

        // The first superblock was being written.
        let mut image = Image::populated();

        growing(&mut image, behind);
        image.flip(0, 50);
        image
            .media
            .write(BLOCKS - 1, &[5; BLOCK_SIZE])
            .expect("memory is good");

        let Checked { report, repair } = image.check();
        let findings: Vec<_> = report.findings.iter().map(ToString::to_string).collect();

        assert!(
            findings[0].contains("superblock 0: wrong checksum"),
            "{findings:?}"
        );
        assert_eq!(
            findings.len(),
            if behind == 0 { 1 } else { 2 },
            "{findings:?}"
        );
        repair.write(&mut image.media).expect("memory is good");
        image.superblock =
            superblock::find(&image.media, &mut Report::default()).expect("it is there");
        assert_eq!(image.superblock.geometry.blocks(), BLOCKS + 100);
        image.expect_clean();
        assert_eq!(image.list(), Image::populated().list());
    }
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
        for number in 0..FIRST_BLOCKS + CHUNK_BLOCKS {
            let block = image.place(copy, number);

            image.flip(block, 9);
        }
    }
    assert!(check::check(&image.media, NOW).is_err());
}

#[test]
fn block_from_other_copy() {
    for copy in 0..COPIES {
        let place = format!("metadata block 1, copy {copy}: wrong checksum");
        let image = found(|i| i.flip(i.place(copy, 1), 99), &[(Damage, &place)]);

        assert_eq!(image.list(), Image::populated().list());

        let place = format!("metadata block 1, copy {copy}: Input/output error");

        found(
            |i| {
                let block = i.place(copy, 1);

                i.media.bad.insert(block);
            },
            &[(Damage, &place)],
        );
    }
    found(
        |i| {
            let from = i.place(0, 2);
            let to = i.place(0, 1);
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
                let block = i.place(copy, 1);

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
        let block = image.place(copy, 0);

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
        .read_block(newer.place(0, 0))
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
        |i| i.log(2, 0, &[(MAX_METADATA * UNITS, [0; UNIT_SIZE])]),
        &[(
            Damage,
            "journal 0, slot 0: unit 0 of its transaction cannot",
        )],
    );
    found(
        |i| i.log(u64::MAX, 1, &[]),
        &[(
            Damage,
            "journal 1, slot 1: a transaction that there cannot be",
        )],
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
        .read_block(image.place(0, 0))
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

/// Damages one of the links, or what it leads to.
fn found_chunk(damage: impl FnOnce(&mut Image), expected: &[(Class, &str)]) {
    let image = found(damage, expected);

    assert!(image.lists("255 0 chunk number=1 copies=544,992"));
    assert!(image.lists("\"user.two\""));
}

#[test]
fn chunks_are_found_without_their_records() {
    let link = FIRST_BLOCKS * UNITS - 1;
    let is_found = "the record of the next chunk is";

    found_chunk(
        |i| {
            for copy in 0..COPIES {
                let block = i.place(copy, FIRST_BLOCKS - 1);

                i.flip(block, 99);
            }
        },
        &[
            (Loss, "metadata block 3: both copies are bad"),
            (
                Damage,
                "unit 63: the record of the next chunk is lost: meta",
            ),
        ],
    );
    for chunk in [
        // Itself, in front of it, out of range, over the metadata, where nothing is.
        Chunk {
            number: 0,
            ..SECOND
        },
        Chunk {
            number: MAX_METADATA,
            ..SECOND
        },
        Chunk {
            number: 1 << 60,
            ..SECOND
        },
        Chunk {
            number: 2,
            ..SECOND
        },
        Chunk {
            copies: [992, 544],
            ..SECOND
        },
        Chunk {
            copies: [544, 1 << 60],
            ..SECOND
        },
        Chunk {
            copies: [544, u64::MAX],
            ..SECOND
        },
        Chunk {
            copies: [0, 992],
            ..SECOND
        },
        Chunk {
            copies: [544, 1024],
            ..SECOND
        },
        Chunk {
            copies: [512, 960],
            ..SECOND
        },
        Chunk {
            copies: [544, 960],
            ..SECOND
        },
        Chunk {
            copies: [545, 992],
            ..SECOND
        },
    ] {
        found_chunk(
            |i| i.put(link, 0, &Record::Chunk(chunk)),
            &[(Damage, is_found)],
        );
    }
    // Another record is there, or reaches to it.
    found_chunk(
        |i| i.put(link, FILE, &extent(50, 512, 1)),
        &[(Damage, is_found)],
    );
    found_chunk(
        |i| {
            i.free(link, 1);
            i.put(link - 2, FILE, &Record::Target(&[b'x'; 150]));
        },
        &[
            (Loss, "unit 61: it reaches to where the record of the next"),
            (Damage, "the record of the next chunk is lost: metadata"),
        ],
    );
}

#[test]
fn chunk_that_is_nowhere_is_told_of() {
    found(
        |i| {
            for block in SECOND.blocks().into_iter().flatten() {
                i.flip(block, 50);
            }
        },
        &[(Loss, "is of where none is: none is found")],
    );
    // One block of it is enough to know where it is.
    let mut expected = [(Loss, "both copies are bad"); CHUNK_BLOCKS as usize];

    expected[7] = (Damage, "metadata block 11, copy 0: wrong checksum");

    let image = found(
        |i| {
            for block in SECOND.blocks().into_iter().flatten() {
                if block != 992 + 7 {
                    i.flip(block, 50);
                }
            }
        },
        &expected,
    );

    assert!(!image.lists("user.two"));
}

#[test]
fn chunk_of_which_a_part_is_a_files_is_not_found() {
    let image = found(
        |i| {
            i.free(FIRST_BLOCKS * UNITS - 1, 1);
            // What was given to a file is not what it was.
            i.media.write(992 + 3, &[1; BLOCK_SIZE]).expect("it fits");
            i.put(40, FILE, &extent(50, 992 + 3, 1));
            for copy in 0..COPIES {
                let block = i.place(copy, FIRST_BLOCKS - 1);

                i.flip(block, 99);
            }
        },
        &[(Loss, "metadata block 3: both copies are bad")],
    );

    assert!(image.lists("block=995 count=1"));
}

#[test]
fn chunks_are_nobodys() {
    for (block, count, kept) in [
        (540, 8, Some("block=540 count=4")),
        (544, 1, None),
        (550, 20, Some("block=560 count=10")),
        (991, 40, Some("block=991 count=1")),
    ] {
        let image = found(
            |i| i.put(40, FILE, &extent(50, block, count)),
            &[(Loss, "that is not all data of files")],
        );

        assert_eq!(image.lists("40 5 extent"), kept.is_some());
        assert!(image.lists(kept.unwrap_or("inode")));

        let image = found(
            |i| i.put(40, 0, &Record::Bad { block, count }),
            &[(Damage, "overlap others, or are not all data")],
        );

        assert!(image.lists(kept.unwrap_or("inode")));
    }
}

#[test]
fn chunks_do_not_overlap() {
    let third = Chunk {
        number: 2,
        copies: [576, 960],
    };

    for copies in [[544, 960], [576, 992], [544, 992]] {
        found(
            |i| {
                i.add_chunk(1, third);
                i.put(
                    i.superblock.geometry.link(1),
                    0,
                    &Record::Chunk(Chunk { copies, ..third }),
                );
            },
            &[(Damage, "of where another one is: metadata chunk 2 is found")],
        );
    }
}

#[test]
fn records_of_chunks_are_nowhere_else() {
    found(
        |i| i.put(40, 0, &Record::Chunk(SECOND)),
        &[(Damage, "unit 40: a record of a chunk, which is only in")],
    );
}

/// An image whose metadata has room for one more unit only, and a file without a name.
fn full() -> Image {
    let mut image = Image::populated();
    let data = image.data();
    let geometry = image.superblock.geometry;
    let is_free = |address: &u64| {
        address % UNITS != 0
            && *address != SECOND_ATTRIBUTE
            && *address != geometry.link(geometry.chunk_of(address / UNITS))
    };

    image.free(26, 1);
    for address in (27..(FIRST_BLOCKS + CHUNK_BLOCKS) * UNITS).filter(is_free) {
        let is_used = (UNITS + 1..UNITS + 6).contains(&address)
            || (UNITS + 10..UNITS + 20).contains(&address);

        if !is_used {
            image.put(address, FILE, &extent(address, data, 1));
        }
    }
    // The freed one is the only room.
    image.put(26, FILE, &extent(10, data, 1));
    image
}

#[test]
fn full_metadata_grows() {
    let mut image = full();
    let report = image.repair();

    assert_eq!(report.losses, 1, "{:#?}", report.findings);
    assert!(image.lists("chunk number=2 copies=560,1008"));
    assert!(image.lists("\"#13\""));
}

#[test]
fn full_device_is_told_of() {
    let mut image = full();

    // All but 16 blocks in a row: there are two copies.
    image.put(26, FILE, &extent(10_000, 576, 416));
    image.put(27, FILE, &extent(20_000, 1008, 19));

    let Checked { report, repair } = image.check();

    assert_eq!(report.hopeless, 1, "{:#?}", report.findings);
    repair.write(&mut image.media).expect("memory is good");
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
    let mut random = Random::new(0);
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
