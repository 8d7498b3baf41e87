// SPDX-License-Identifier: GPL-2.0

//! Compares a directory with the models before and after an operation. If the machine stopped
//! during the operation, all, nothing or a part of it has happened.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::contents::compare_file;
use crate::model::file::{File, Kind};
use crate::model::{Model, PLACES};
use crate::operation::{Attribute, Id, Name};
use crate::sys;

/// The path of a name.
pub fn path(folder: &Path, name: Name) -> PathBuf {
    folder
        .join(PLACES[name % PLACES.len()])
        .join(name.to_string())
}

/// The name of an extended attribute.
pub fn attribute(number: Attribute) -> String {
    format!("user.{number}")
}

/// Compares a folder with two models.
///
/// Names and attributes must all be as in `before`, or all as in `after`. Each byte of a file can
/// be as in `before` or as in `after`. The size of a file can be as in `before`, as in `after`, or
/// in between.
pub fn compare(folder: &Path, before: &Model, after: &Model) -> Result<(), String> {
    let compare = |model| compare_as(folder, model, before, after);

    compare(after).or_else(|wrong| compare(before).map_err(|_| wrong))
}

/// Compares names and attributes with `model`, and contents with `before` and `after`.
fn compare_as(folder: &Path, model: &Model, before: &Model, after: &Model) -> Result<(), String> {
    for place in 0..PLACES.len() {
        compare_place(folder, model, place)?;
    }

    let mut inodes = BTreeMap::new();
    let none = File::default();

    for (name, id) in model.names.iter().enumerate() {
        let Some(id) = id else {
            continue;
        };
        let expected = model.files.get(id).unwrap_or(&none);
        let is_new = compare_name(folder, (name, *id), expected, &mut inodes)
            .map_err(|wrong| format!("name {name}, file {id}: {wrong}"))?;

        if is_new && expected.kind == Kind::Regular {
            let old = before.files.get(id).unwrap_or(&none);
            let new = after.files.get(id).unwrap_or(&none);

            fs::File::open(path(folder, name))
                .map_err(|error| error.to_string())
                .and_then(|file| compare_file(&file, old, new))
                .map_err(|wrong| format!("name {name}, file {id}: {wrong}"))?;
        }
    }
    Ok(())
}

/// Compares the names in a directory, and its link count.
fn compare_place(folder: &Path, model: &Model, place: usize) -> Result<(), String> {
    let path = folder.join(PLACES[place]);
    let wrong = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut expected: BTreeSet<_> = (place..model.names.len())
        .step_by(PLACES.len())
        .filter(|name| model.names[*name].is_some())
        .map(|name| name.to_string())
        .collect();
    let mut found = BTreeSet::new();

    if place == 0 {
        expected.extend(PLACES[1..].iter().map(|place| (*place).into()));
    }
    for entry in fs::read_dir(&path).map_err(wrong)? {
        found.insert(
            entry
                .map_err(wrong)?
                .file_name()
                .to_string_lossy()
                .into_owned(),
        );
    }
    if found != expected {
        return Err(format!(
            "'{}' has the names {found:?} instead of {expected:?}",
            PLACES[place]
        ));
    }

    let links = fs::metadata(&path).map_err(wrong)?.nlink();
    let expected = 2 + model.directories_in(place) as u64;

    match links == expected {
        true => Ok(()),
        false => Err(format!(
            "'{}' has link count {links} instead of {expected}",
            PLACES[place]
        )),
    }
}

/// Compares the file with a name, without its contents. Returns false if it was already compared
/// under another name.
fn compare_name(
    folder: &Path,
    (name, id): (Name, Id),
    expected: &File,
    inodes: &mut BTreeMap<Id, u64>,
) -> Result<bool, String> {
    let path = path(folder, name);
    let stat = fs::symlink_metadata(&path).map_err(|error| error.to_string())?;

    if kind_of(&stat) != Some(expected.kind) {
        return Err(format!(
            "{:?} instead of {:?}",
            stat.file_type(),
            expected.kind
        ));
    }
    match inodes.insert(id, stat.ino()) {
        Some(number) if number == stat.ino() => return Ok(false),
        Some(_) => return Err("two names of one file have different inodes".into()),
        None => {}
    }
    if expected.kind == Kind::Symlink {
        let target = fs::read_link(&path).map_err(|error| error.to_string())?;

        if target.as_os_str().as_bytes() != expected.data {
            return Err(format!("wrong target {}", target.display()));
        }
        if stat.nlink() != expected.links {
            return Err(format!(
                "link count {} instead of {}",
                stat.nlink(),
                expected.links
            ));
        }
        return Ok(true);
    }

    let file = fs::File::open(&path).map_err(|error| error.to_string())?;

    compare_inode(&file, expected)?;
    Ok(true)
}

fn kind_of(stat: &fs::Metadata) -> Option<Kind> {
    let kind = stat.file_type();

    match (kind.is_file(), kind.is_dir(), kind.is_symlink()) {
        (true, _, _) => Some(Kind::Regular),
        (_, true, _) => Some(Kind::Directory),
        (_, _, true) => Some(Kind::Symlink),
        _ => None,
    }
}

/// Compares the link count, the mode and the attributes of a file or directory.
pub fn compare_inode(file: &fs::File, expected: &File) -> Result<(), String> {
    let stat = file.metadata().map_err(|error| error.to_string())?;
    let found = (stat.nlink(), stat.mode() & 0o7777);

    if found != (expected.links, expected.mode) {
        return Err(format!(
            "link count {} and mode {:o} instead of {} and {:o}",
            found.0, found.1, expected.links, expected.mode
        ));
    }

    let found: BTreeSet<_> = sys::attributes(file)
        .map_err(|error| format!("attributes: {error}"))?
        .into_iter()
        .collect();
    let names: BTreeSet<_> = expected
        .attributes
        .keys()
        .map(|at| attribute(*at))
        .collect();

    if found != names {
        return Err(format!("attributes {found:?} instead of {names:?}"));
    }
    for (number, expected) in &expected.attributes {
        let name = attribute(*number);
        let found = sys::attribute(file, &name).map_err(|error| format!("{name}: {error}"))?;

        if found != *expected {
            return Err(format!("attribute {name} has a wrong value"));
        }
    }
    Ok(())
}
