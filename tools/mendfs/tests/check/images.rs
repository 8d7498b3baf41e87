// SPDX-License-Identifier: GPL-2.0

//! Tests that images without damage are clean.

use mendfs::make;
use mfmend::image::{Image, BLOCKS, NOW, UUID};

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
