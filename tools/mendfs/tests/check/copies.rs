// SPDX-License-Identifier: GPL-2.0

//! Copies of metadata blocks that are bad or differ.

use mendfs::check;
use mendfs::format::{Record, CHUNK_BLOCKS, COPIES, ROOT};
use mendfs::media::Media;
use mendfs::report::Class::{Damage, Loss};
use mfmend::image::{name, Image, BLOCKS, FILE, FIRST_BLOCKS, NOW};

use super::findings::found;

#[test]
fn image_without_a_good_copy_is_refused() {
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
fn bad_block_is_repaired_from_the_other_copy() {
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
fn newer_copy_is_used() {
    let image = found(
        |i| {
            i.log(8, 0, &[]);
            i.edit_copy(1, 0, 8, |block| {
                name(FILE, 0o100_000, "FILE").write(ROOT, &mut block[22 * 64..23 * 64]);
            });
        },
        &[(
            Damage,
            "metadata block 0, copy 0: it differs from the other",
        )],
    );

    assert!(image.lists("\"FILE\""));
}

#[test]
fn block_without_a_good_copy_is_replaced() {
    let image = found(
        |i| {
            for copy in 0..COPIES {
                let block = i.place(copy, 1);

                i.flip(block, 99);
            }
        },
        &[
            (Loss, "metadata block 1: both copies are bad"),
            (Damage, "/lost+found is created"),
            (Loss, "inode 7 has no name: it gets /lost+found/#7"),
        ],
    );

    assert!(image.lists("\"#7\""));
}

#[test]
fn missing_root_is_created() {
    let mut image = Image::populated();

    for copy in 0..COPIES {
        let block = image.place(copy, 0);

        image.flip(block, 99);
    }

    let report = image.repair();

    assert!(report.losses > 2);
    assert!(image.lists("1 1 inode mode=40755"));

    // A longer record of another kind is in the place of the root directory.
    let mut image = Image::empty(1);

    image.put(ROOT, ROOT, &Record::Target(&[b'x'; 150]));

    let report = image.repair();

    assert_eq!(report.losses, 1, "{:#?}", report.findings);
    assert_eq!(image.list().len(), 1);
}
