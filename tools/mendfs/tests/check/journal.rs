// SPDX-License-Identifier: GPL-2.0

//! Replay of the journal, and damage to it.

use mendfs::format::{Inode, Record, COPIES, MAX_METADATA, ROOT, UNITS, UNIT_SIZE};
use mendfs::make;
use mendfs::media::Media;
use mendfs::report::Class::Damage;
use mfmend::image::{name, Image, FIFO, FIRST_FREE, NOW};

use super::findings::found;

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

    // Each transaction is in one copy of the journal only.
    image.log(3, 1, &[unit(FIRST_FREE), unit(FIFO)]);
    image.log(4, 0, &[unit(FIFO + 1), unit(0)]);

    let report = image.repair();

    assert!(report.is_clean() && report.is_replayed);
    assert_eq!(image.list(), newer.list());

    // The repair has retired the journal: damage to the old transactions is ignored.
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
    // One copy of slot 0 still has transaction 2.
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
            // Transaction 6 is not in the journal any more.
            i.log(5, 0, &[(22, [0; UNIT_SIZE])]);
        },
        &[(Damage, "journal: its last transaction is 5, but the")],
    );

    assert!(image.lists("\"file\""));
}

#[test]
fn damaged_journal_is_rewritten() {
    found(
        |i| i.log(2, 0, &[(MAX_METADATA * UNITS, [0; UNIT_SIZE])]),
        &[(
            Damage,
            "journal 0, slot 0: unit 0 of its transaction is not in",
        )],
    );
    found(
        |i| i.log(u64::MAX, 1, &[]),
        &[(
            Damage,
            "journal 1, slot 1: the number of its transaction is out",
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
