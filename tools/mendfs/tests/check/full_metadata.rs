// SPDX-License-Identifier: GPL-2.0

//! Repairs that need more space for metadata.

use mendfs::check::Checked;
use mendfs::format::{CHUNK_BLOCKS, UNITS};
use mfmend::image::{extent, Image, FILE, FIRST_BLOCKS, SECOND_ATTRIBUTE};

/// An image with a file without a name, and with one free unit of metadata. A repair needs more,
/// for `/lost+found` and two names.
fn full() -> Image {
    let mut image = Image::populated();
    let data = image.data();
    let geometry = image.superblock.geometry;
    let is_free = |address: &u64| {
        address % UNITS != 0
            && *address != SECOND_ATTRIBUTE
            && *address != geometry.link_address(geometry.chunk_of(address / UNITS))
    };

    image.free(26, 1);
    for address in (27..(FIRST_BLOCKS + CHUNK_BLOCKS) * UNITS).filter(is_free) {
        let is_used = (UNITS + 1..UNITS + 6).contains(&address)
            || (UNITS + 10..UNITS + 20).contains(&address);

        if !is_used {
            image.put(address, FILE, &extent(address, data, 1));
        }
    }
    // Fill the freed unit, too.
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
fn full_device_cannot_be_repaired() {
    let mut image = full();

    // Leave space for only one copy of a chunk.
    image.put(26, FILE, &extent(10_000, 576, 416));
    image.put(27, FILE, &extent(20_000, 1008, 19));

    let Checked { report, repair } = image.check();

    assert_eq!(report.unrepairable, 1, "{:#?}", report.findings);
    repair.write(&mut image.media).expect("memory is good");
}
