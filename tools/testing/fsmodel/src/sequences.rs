// SPDX-License-Identifier: GPL-2.0

//! All short sequences of operations from a fixed set, each on the same initial files.
//!
//! A program in the guest runs each sequence in its own folder, and marks the end of each
//! operation. A program on the host applies the same sequences to the model, and so computes the
//! expected files at each moment.

use std::fs;
use std::path::Path;

use crate::disk::{self, Disk};
use crate::model::file::Kind;
use crate::model::Model;
use crate::operation::{Id, Name, Operation, Reserve, Transfer};
use crate::random::Random;
use crate::span::{Span, PAGE};
use crate::sys;

/// The number of names.
const NAMES: usize = 9;

/// The maximum size of a file in bytes.
const LIMIT: usize = 8 * PAGE;

/// The size of `FILE` in bytes. Its last page is not full.
const SIZE: usize = 2 * PAGE + 1800;

/// The file in the folder, which most operations change.
const FILE: Id = 0;
/// The file in the subfolder `a`, which has two names.
const OTHER: Id = 1;

// The remainder of a name by 3 selects its directory: the folder, its subfolder `a`, or `b`.
const NAME: Name = 0;
const OTHER_NAME: Name = 1;
const SECOND_NAME: Name = 4;
const DIRECTORY: Name = 3;
/// A directory in another directory than `DIRECTORY`.
const OTHER_DIRECTORY: Name = 5;
const FREE: Name = 6;
const FREE_IN_A: Name = 7;
const FREE_IN_B: Name = 8;

/// The operations that create the initial files of each sequence.
const BEFORE: [Operation; 11] = [
    Operation::Create(NAME),
    Operation::Create(OTHER_NAME),
    Operation::MakeDirectory(DIRECTORY),
    Operation::MakeDirectory(OTHER_DIRECTORY),
    Operation::Link(OTHER_NAME, SECOND_NAME),
    Operation::Write(FILE, Span { at: 0, len: SIZE }, 1),
    Operation::Write(OTHER, Span { at: 0, len: PAGE }, 2),
    Operation::SetAttribute(FILE, 0, 20, 3),
    Operation::SetAttribute(FILE, 1, 100, 4),
    Operation::Sync(FILE),
    Operation::Sync(OTHER),
];

/// The number of operations in the set.
const OPERATIONS: usize = 41;

/// The operation with this number; [`None`] if it is not possible.
fn operation(model: &Model, number: usize) -> Option<Operation> {
    let exists = |name: Name| model.names[name].is_some();
    let new = |name, operation| (!exists(name)).then_some(operation);
    let old = |name, operation| exists(name).then_some(operation);
    let size = model.files.get(&FILE).map_or(0, |file| file.data.len());
    let other_size = model.files.get(&OTHER).map_or(0, |file| file.data.len());
    let file = |operation| model.files.contains_key(&FILE).then_some(operation);
    let both = |operation| file(operation).filter(|_| model.files.contains_key(&OTHER));
    let within = |end: usize, operation| file(operation).filter(|_| end <= size);
    let fill = 100 + number as u64;
    let has = |attribute| {
        let found = model.files.get(&FILE)?.attributes.get(&attribute);

        found.map(|_| Operation::RemoveAttribute(FILE, attribute))
    };
    let whole = Span { at: 0, len: size };
    let first = Span { at: 0, len: PAGE };
    let middle = Span {
        at: PAGE - 100,
        len: 300,
    };
    let after_end = Span {
        at: 3 * PAGE + 500,
        len: PAGE,
    };

    match number {
        0 => new(FREE, Operation::Create(FREE)),
        1 => new(FREE_IN_A, Operation::Create(FREE_IN_A)),
        2 => new(FREE, Operation::MakeDirectory(FREE)),
        3 => new(FREE, Operation::MakeLink(FREE, 30, fill)),
        4 => new(FREE_IN_B, Operation::MakeLink(FREE_IN_B, 900, fill)),
        5 => old(NAME, Operation::Link(NAME, FREE_IN_A))
            .filter(|_| !exists(FREE_IN_A) && kind_of(model, NAME) == Some(Kind::Regular)),
        6 => old(NAME, Operation::Unlink(NAME)),
        7 => old(OTHER_NAME, Operation::Unlink(OTHER_NAME)),
        8 => old(DIRECTORY, Operation::Unlink(DIRECTORY)),
        9 => rename(model, NAME, FREE),
        10 => rename(model, NAME, OTHER_NAME),
        11 => rename(model, NAME, FREE_IN_B),
        12 => rename(model, OTHER_NAME, NAME),
        13 => rename(model, DIRECTORY, FREE_IN_A),
        14 => rename(model, DIRECTORY, OTHER_DIRECTORY),
        15 => old(NAME, Operation::Exchange(NAME, OTHER_NAME)).filter(|_| exists(OTHER_NAME)),
        16 => old(NAME, Operation::Exchange(NAME, OTHER_DIRECTORY))
            .filter(|_| exists(OTHER_DIRECTORY)),
        17 => file(Operation::Write(FILE, middle, fill)),
        18 => file(Operation::Write(FILE, after_end, fill)),
        19 => file(Operation::Write(FILE, first, fill)),
        20 => file(Operation::Append(FILE, 1000, fill)),
        21 => file(Operation::Append(FILE, PAGE + 10, fill)),
        22 => file(Operation::Truncate(FILE, PAGE + 50)),
        23 => file(Operation::Truncate(FILE, 0)),
        24 => file(Operation::Truncate(FILE, 4 * PAGE + 5)),
        25 => file(Operation::Reserve(Reserve::Allocate, FILE, after_end, true)),
        26 => file(Operation::Reserve(
            Reserve::Allocate,
            FILE,
            after_end,
            false,
        )),
        27 => file(Operation::Reserve(Reserve::Zero, FILE, middle, false)),
        28 => file(Operation::Reserve(Reserve::Unshare, FILE, first, false)),
        29 => file(Operation::Punch(FILE, first)),
        30 => file(Operation::Punch(FILE, middle)),
        31 if size > 0 && other_size <= size => {
            both(Operation::Transfer(Transfer::Clone, FILE, whole, OTHER, 0))
        }
        32 if other_size >= PAGE => both(Operation::Transfer(
            Transfer::Clone,
            OTHER,
            first,
            FILE,
            PAGE,
        )),
        33 if size >= middle.end() => both(Operation::Transfer(
            Transfer::Copy,
            FILE,
            middle,
            OTHER,
            PAGE,
        )),
        34 => file(Operation::SetAttribute(FILE, 0, 300, fill)),
        35 => file(Operation::SetAttribute(FILE, 2, 10, fill)),
        36 => has(1),
        37 => within(middle.end(), Operation::MapWrite(FILE, middle, fill, true)),
        38 => file(Operation::Mode(FILE, 0o600)),
        39 => file(Operation::Sync(FILE)),
        40 => Some(Operation::Grow),
        _ => None,
    }
}

fn kind_of(model: &Model, name: Name) -> Option<Kind> {
    let id = model.names.get(name).copied().flatten()?;

    model.files.get(&id).map(|file| file.kind)
}

fn rename(model: &Model, from: Name, to: Name) -> Option<Operation> {
    let kind = kind_of(model, from)?;
    let is_directory = kind == Kind::Directory;
    let is_possible =
        kind_of(model, to).is_none_or(|other| is_directory == (other == Kind::Directory));

    is_possible.then_some(Operation::Rename(from, to))
}

/// A sequence of operations.
pub type Sequence = Vec<Operation>;

/// The model of the initial files of each sequence.
pub fn before() -> Model {
    let mut model = Model::new(NAMES, LIMIT, false);

    for operation in BEFORE {
        model.apply(operation);
    }
    model
}

/// The sequence of operations of these numbers; [`None`] if one is not possible.
fn sequence(numbers: &[usize]) -> Option<Sequence> {
    let mut model = before();

    numbers
        .iter()
        .map(|number| {
            let operation = operation(&model, *number)?;

            model.apply(operation);
            Some(operation)
        })
        .collect()
}

/// All sequences of one and of two operations, and `longer` random ones of three operations.
pub fn all(longer: usize, seed: u64) -> Vec<Sequence> {
    let numbers = || 0..OPERATIONS;
    let mut random = Random::new(seed);
    let mut random_three = || [0; 3].map(|_: usize| random.below(OPERATIONS));
    let ones = numbers().map(|first| vec![first]);
    let twos = numbers().flat_map(|first| numbers().map(move |second| vec![first, second]));
    let mut all: Vec<_> = ones
        .chain(twos)
        .filter_map(|them| sequence(&them))
        .collect();
    let end = all.len() + longer;

    while all.len() < end {
        all.extend(sequence(&random_three()));
    }
    all
}

/// The progress of the program in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The number of a sequence, and how many of its operations are finished. The next operation
    /// follows.
    Done(usize, usize),
    /// The program creates or removes files, and the states are not checked.
    Between,
}

impl Mark {
    /// The number of bits of the number of operations, below the number of the sequence.
    const SHIFT: u32 = 8;

    /// The mark as a number.
    fn number(self) -> u64 {
        match self {
            Self::Done(sequence, done) => ((sequence << Self::SHIFT) | done) as u64,
            Self::Between => u64::MAX,
        }
    }

    /// The mark with this number.
    pub fn new(number: u64) -> Self {
        match number {
            u64::MAX => Self::Between,
            _ => Self::Done(
                (number >> Self::SHIFT) as usize,
                (number & ((1 << Self::SHIFT) - 1)) as usize,
            ),
        }
    }
}

/// Runs all sequences, one after the other. Each one has its own folder in `folder`, which is
/// removed afterwards. Returns the number of sequences.
pub fn run(folder: &Path, longer: usize, seed: u64) -> Result<usize, String> {
    let all = all(longer, seed);

    for (number, sequence) in all.iter().enumerate() {
        run_one(&folder.join(number.to_string()), number, sequence)
            .map_err(|wrong| format!("sequence {number}, {sequence:?}: {wrong}"))?;
    }
    Ok(all.len())
}

fn run_one(folder: &Path, number: usize, sequence: &Sequence) -> Result<(), String> {
    let mut disk = Disk::new(folder, LIMIT, disk::Options::default());
    let mut model = Model::new(NAMES, LIMIT, false);
    let text = |error: std::io::Error| error.to_string();

    fs::create_dir(folder).map_err(text)?;
    disk.prepare()?;
    for operation in BEFORE {
        disk.apply(&model, operation)?;
        model.apply(operation);
    }
    sys::mark(Mark::Done(number, 0).number());
    for (done, operation) in (1..).zip(sequence) {
        disk.apply(&model, *operation)?;
        model.apply(*operation);
        sys::mark(Mark::Done(number, done).number());
    }
    sys::mark(Mark::Between.number());
    disk.apply(&model, Operation::Compare)?;
    drop(disk);
    fs::remove_dir_all(folder).map_err(text)
}
