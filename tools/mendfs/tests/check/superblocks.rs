// SPDX-License-Identifier: GPL-2.0

//! Damage to superblocks, and a growth that was interrupted.

use mendfs::check::Checked;
use mendfs::checksum;
use mendfs::format::{Superblock, BLOCK_SIZE, COPIES};
use mendfs::media::Media;
use mendfs::report::Class::{Damage, Note};
use mendfs::report::Report;
use mendfs::superblock;
use mfmend::image::{Image, BLOCKS, FIRST_BLOCKS};

use super::findings::found;

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
