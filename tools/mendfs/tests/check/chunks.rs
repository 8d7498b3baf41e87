// SPDX-License-Identifier: GPL-2.0

//! Damage to chunks of the metadata and to the records that link them.

use mendfs::format::{Chunk, Record, BLOCK_SIZE, CHUNK_BLOCKS, COPIES, MAX_METADATA, UNITS};
use mendfs::media::Media;
use mendfs::report::Class::{self, Damage, Loss};
use mfmend::image::{extent, Image, FILE, FIRST_BLOCKS, SECOND};

use super::findings::found;

/// Damages a link or its target, and checks that the second chunk is found again.
fn found_chunk(damage: impl FnOnce(&mut Image), expected: &[(Class, &str)]) {
    let image = found(damage, expected);

    assert!(image.lists("255 0 chunk number=1 copies=544,992"));
    assert!(image.lists("\"user.two\""));
}

#[test]
fn chunks_are_found_without_their_records() {
    let link = FIRST_BLOCKS * UNITS - 1;
    let is_found = "the record of the next chunk ";

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
                "unit 63: the record of the next chunk is gone: metadata chunk 1 is found",
            ),
        ],
    );
    for chunk in [
        // Wrong records: the number of the chunk itself, wrong orders, places out of range or over
        // the metadata, and blocks without a chunk.
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
    // Another record is in the place of the link, or overlaps it.
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
            (Loss, "unit 61: it overlaps the record of the next chunk"),
            (Damage, "the record of the next chunk is gone: metadata"),
        ],
    );
}

#[test]
fn missing_chunk_is_reported() {
    found(
        |i| {
            for block in SECOND.blocks().into_iter().flatten() {
                i.flip(block, 50);
            }
        },
        &[(Loss, "points to no chunk: no chunk is found")],
    );
    // One good block is enough to confirm the place of the chunk.
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
fn chunk_that_is_partly_allocated_to_a_file_is_not_found() {
    let image = found(
        |i| {
            i.free(FIRST_BLOCKS * UNITS - 1, 1);
            // A file has overwritten one of the blocks.
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
fn chunks_are_not_data() {
    for (block, count, kept) in [
        (540, 8, Some("block=540 count=4")),
        (544, 1, None),
        (550, 20, Some("block=560 count=10")),
        (991, 40, Some("block=991 count=1")),
    ] {
        let image = found(
            |i| i.put(40, FILE, &extent(50, block, count)),
            &[(Loss, "is not only in data blocks")],
        );

        assert_eq!(image.lists("40 5 extent"), kept.is_some());
        assert!(image.lists(kept.unwrap_or("inode")));

        let image = found(
            |i| i.put(40, 0, &Record::Bad { block, count }),
            &[(Damage, "overlap another bad range, or are not only data")],
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
                    i.superblock.geometry.link_address(1),
                    0,
                    &Record::Chunk(Chunk { copies, ..third }),
                );
            },
            &[(Damage, "points to another chunk: metadata chunk 2 is found")],
        );
    }
}

#[test]
fn records_of_chunks_are_only_in_last_units() {
    found(
        |i| i.put(40, 0, &Record::Chunk(SECOND)),
        &[(Damage, "unit 40: a record of a chunk must be in")],
    );
}
