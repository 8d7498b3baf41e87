// SPDX-License-Identifier: GPL-2.0

//! Damage to records: inodes, extents, attributes, targets of symbolic links, and bad ranges.

use std::ops::Range;

use mendfs::format::{Extent, Record, UNITS};
use mendfs::report::Class::{Damage, Loss};
use mfmend::image::{extent, name, Image, DIRECTORY, FIFO, FILE, LINK, TARGET};

use super::findings::found;

#[test]
fn damaged_records_are_freed() {
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
        &[(Damage, "metadata block 0, unit 40: a free unit is not")],
    );
    found(
        |i| i.edit(0, |block| block[63 * 64..63 * 64 + 2].fill(2)),
        &[(Loss, "metadata block 0, unit 63: wrong length")],
    );
}

#[test]
fn inodes_are_checked() {
    found(
        |i| i.edit(0, |block| block[FILE as usize * 64 + 8] = 77),
        &[(Damage, "the record of inode 5 has the number 77")],
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
            "inode 13 of type 10000 must not have size 1, device number 2, parent 3",
        )],
    );
}

#[test]
fn records_have_an_owner() {
    let data = Image::populated().data();

    found(
        |i| i.put(40, 77, &extent(0, data, 1)),
        &[(Loss, "unit 40: extent of inode 77, which does not exist")],
    );
    found(
        |i| i.put(40, DIRECTORY, &extent(0, data, 1)),
        &[(Loss, "unit 40: extent of inode 3, which is not a regular")],
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
        &[(Loss, "unit 40: attribute of inode 77, which does not exist")],
    );
    found(
        |i| i.put(40, FILE, &Record::Target(b"x")),
        &[(Loss, "target of inode 5, which is not a symbolic link")],
    );
    found(
        |i| i.put(40, 77, &name(FILE, 0o100_000, "x")),
        &[(
            Loss,
            "name \"x\" in directory 77: the directory does not exist",
        )],
    );
    found(
        |i| i.put(40, FILE, &name(FILE, 0o100_000, "x")),
        &[(
            Loss,
            "name \"x\" in directory 5: inode 5 is not a directory",
        )],
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
            &[(Loss, "unit 40: extent of inode 5, file blocks 50..")],
        );

        assert_eq!(image.lists("40 5 extent"), kept.is_some());
        assert!(image.lists(kept.unwrap_or("inode")));
    }

    let image = found(
        |i| i.put(40, FILE, &extent(1, start + 9, 2)),
        &[(Loss, "file blocks 1..3 at blocks 521..523, overlaps")],
    );

    assert!(image.lists("file_block=2 block=522 count=1"));
    found(
        |i| i.put(40, FILE, &extent(0, start + 9, 2)),
        &[(Loss, "overlaps the previous extent")],
    );
    // The last possible block of a file.
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
            &[(Damage, "overlap another bad range, or are not only data")],
        );
    }
    // Bad blocks can be allocated to a file.
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
        &[(Damage, "unit 20: a bad range must not belong to inode 5")],
    );
}

#[test]
fn symbolic_links_have_one_target() {
    found(
        |i| i.change(LINK, |inode| inode.size = 7),
        &[(
            Damage,
            "symbolic link 9 has size 7, but a target of 6 bytes",
        )],
    );
    found(
        |i| i.put(40, LINK, &Record::Target(b"other one")),
        &[(Loss, "unit 40: target of inode 9, which has another")],
    );
    found(
        |i| i.free(TARGET, 1),
        &[
            (Loss, "symbolic link 9 has no target"),
            (
                Loss,
                "name \"link\" in directory 11: inode 9 does not exist",
            ),
        ],
    );
}

#[test]
fn attributes_have_different_names() {
    let second = Record::Attribute {
        name: b"user.one",
        value: b"2",
    };

    found(
        |i| i.put(2 * UNITS + 1, FILE, &second),
        &[(Loss, "attribute \"user.one\" of inode 5, which has another")],
    );
}
