// SPDX-License-Identifier: GPL-2.0

//! Damage to superblocks, and an interrupted growth.

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
fn bad_superblock_is_repaired_from_the_other_copy() {
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
fn superblock_of_another_filesystem_is_replaced() {
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
            &[(Damage, "it is not a superblock of this filesystem")],
        );
    }
}

#[test]
fn label_of_the_first_superblock_is_used() {
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
        &[(Note, "superblock 1: its label or mount UUID is outdated")],
    );
}

#[test]
fn second_superblock_is_found_on_a_grown_device() {
    let mut image = Image::populated();

    image.media.blocks += 100;
    image.expect_clean();
}

/// Puts the image into the state that a crash leaves while the filesystem grows, when only the
/// first superblock is still the old one. The device has `after` blocks after the end of the grown
/// filesystem.
fn interrupt_growth(image: &mut Image, after: u64) {
    let grown = image
        .superblock
        .geometry
        .grown(BLOCKS + 100)
        .expect("it fits");
    let superblock = Superblock {
        geometry: grown,
        ..image.superblock
    };

    image.media.blocks = grown.blocks() + after;
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
fn interrupted_growth_is_cleared() {
    for after in [0, 1, 5] {
        let what = format!(
            "block {}: superblock of an interrupted growth to",
            BLOCKS + 99 + after
        );
        let image = found(|i| interrupt_growth(i, after), &[(Note, &what)]);

        assert_eq!(image.list(), Image::populated().list());
        assert!(!image.media.contents.contains_key(&(BLOCKS + 99 + after)));

        // The machine has crashed during the write of the first superblock.
        let mut image = Image::populated();

        interrupt_growth(&mut image, after);
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
            if after == 0 { 1 } else { 2 },
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
