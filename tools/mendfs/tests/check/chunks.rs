// SPDX-License-Identifier: GPL-2.0

//! Chunks of the metadata: where they are, and how they are found without their records.

use mendfs::format::{Chunk, Record, BLOCK_SIZE, CHUNK_BLOCKS, COPIES, MAX_METADATA, UNITS};
use mendfs::media::Media;
use mendfs::report::Class::{self, Damage, Loss};
use mfmend::image::{extent, Image, FILE, FIRST_BLOCKS, SECOND};

use super::findings::found;

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
