// SPDX-License-Identifier: GPL-2.0

//! Damage to the tree of directories: names, parents and link counts.

use mendfs::format::{ROOT, UNITS};
use mendfs::report::Class::{Damage, Loss, Note};
use mfmend::image::{name, Image, CLONE, DIRECTORY, FIFO, FILE, INNER};

use super::findings::found;

#[test]
fn root_is_a_directory() {
    let mut image = Image::populated();

    image.change(ROOT, |inode| inode.mode = 0o100_644);

    let report = image.repair();

    assert!(report.losses > 0);
    assert!(image.lists("\"dir\""));
}

#[test]
fn names_are_checked() {
    found(
        |i| i.put(40, ROOT, &name(77, 0o100_000, "x\n")),
        &[(
            Loss,
            "name \"x\\n\" in directory 1: inode 77 does not exist",
        )],
    );
    found(
        |i| i.put(40, DIRECTORY, &name(ROOT, 0o040_000, "up")),
        &[(Loss, "its target is the root directory")],
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
            "name \"file\" in directory 1: the directory has this name twice",
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
            (Damage, "/lost+found is created"),
            (Loss, "inode 11 has no name: it gets /lost+found/#11"),
            (Damage, "inode 3 has link count 3 instead of 2"),
        ],
    );
    // Directories that contain each other.
    let image = found(
        |i| i.put(21, INNER, &name(DIRECTORY, 0o040_000, "dir")),
        &[
            (Loss, "the directory contains itself"),
            (Damage, "/lost+found is created"),
            (Loss, "inode 3 has no name: it gets /lost+found/#3"),
            (Damage, "inode 1 has link count 4 instead of 3"),
        ],
    );

    assert!(image.lists("\"lost+found\""));
}

#[test]
fn existing_lost_and_found_is_used() {
    let image = found(
        |i| {
            i.put(21, ROOT, &name(DIRECTORY, 0o040_000, "lost+found"));
            i.put(40, DIRECTORY, &name(FIFO, 0o010_000, "#7"));
            i.change(FIFO, |inode| inode.links = 2);
            i.free(UNITS + 1, 5);
        },
        &[(Loss, "inode 7 has no name: it gets /lost+found/#7.2")],
    );

    assert!(image.lists(" 3 name target=7 type=100000 \"#7.2\""));

    let image = found(
        |i| {
            i.put(22, ROOT, &name(FILE, 0o100_000, "lost+found"));
            i.free(UNITS + 1, 5);
        },
        &[
            (Damage, "/lost+found.2 is created"),
            (Loss, "inode 7 has no name"),
        ],
    );

    assert!(image.lists("\"#7\""));
}

#[test]
fn links_are_counted() {
    for number in [ROOT, DIRECTORY, FILE, FIFO] {
        let what = format!("inode {number} has link count 9 instead of");

        found(
            |i| i.change(number, |inode| inode.links = 9),
            &[(Damage, &what)],
        );
    }
    found(
        |i| i.change(FILE, |inode| inode.links = 0),
        &[(Damage, "inode 5 has link count 0 instead of 2")],
    );
}

#[test]
fn orphans_are_removed() {
    let image = found(
        |i| {
            i.change(CLONE, |inode| inode.links = 0);
            i.free(UNITS + 1, 5);
        },
        &[(Note, "inode 7 was removed while open, and is not freed")],
    );

    assert!(!image.lists(" 7 extent"));
}
