// SPDX-License-Identifier: GPL-2.0

//! Checks the states that a power failure can leave of a filesystem during sequences of operations.
//!
//! The plugin of QEMU has recorded all stores, write-backs and fences of the guest. This module
//! replays them without a guest. At each fence of the last operation of a sequence, and at its end,
//! it makes states that a power failure could leave at this moment: the durable contents, and a
//! subset of the cache lines that are not durable. In each state fsck must find nothing to repair,
//! and the files must be as before or after the operation.

use std::fmt::{self, Display, Formatter};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use clap::Args;

use crate::model::file::Kind;
use crate::model::Model;
use crate::operation::{Operation, Transfer};
use crate::random::Random;
use crate::sequences::{self, Mark, Sequence};

mod cache;
mod image;
mod trace;

use cache::{Cache, Lines};
use image::{Image, Remains};
use trace::{Event, Trace};

/// The maximum number of wrong states that are printed.
const SHOWN: usize = 10;

/// The arguments of a check.
#[derive(Args)]
pub struct Request {
    /// The maximum number of states at each moment. If no more are possible, all are checked.
    #[arg(long, default_value_t = 64)]
    states: usize,
    /// The seed that selects states if more are possible.
    #[arg(long, default_value_t = 1)]
    choice: u64,
    /// A file to write the first wrong state to.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// The initial contents of the memory.
    first: PathBuf,
    /// The trace of the guest.
    trace: PathBuf,
    /// The final contents of the memory.
    last: PathBuf,
}

/// The numbers of checked sequences, fences and states.
#[derive(Default)]
pub struct Checked {
    sequences: u64,
    fences: u64,
    states: u64,
    /// Moments at which states were made.
    moments: u64,
    /// Moments at which all possible states were checked.
    whole_moments: u64,
    /// The maximum number of lines that were not durable at a moment.
    lines: usize,
    /// The number of wrong states.
    wrong: u64,
    /// The descriptions of the first wrong states.
    shown: Vec<String>,
}

impl Checked {
    fn add(&mut self, other: Self) {
        self.sequences += other.sequences;
        self.fences += other.fences;
        self.states += other.states;
        self.moments += other.moments;
        self.whole_moments += other.whole_moments;
        self.lines = self.lines.max(other.lines);
        self.wrong += other.wrong;
        self.shown.extend(other.shown);
        self.shown.truncate(SHOWN);
    }
}

impl Display for Checked {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for wrong in &self.shown {
            writeln!(f, "{wrong}")?;
        }
        write!(
            f,
            "{} sequences, {} fences, {} states at {} moments (at {} of them all possible states), \
             up to {} lines not durable; {} states are wrong",
            self.sequences,
            self.fences,
            self.states,
            self.moments,
            self.whole_moments,
            self.lines,
            self.wrong
        )
    }
}

/// Checks the states that a power failure can leave during `sequences`.
pub fn check(request: &Request, sequences: &[Sequence]) -> Result<String, String> {
    let first = read(&request.first)?;
    let trace = read(&request.trace)?;
    let last = read(&request.last)?;
    let threads = thread::available_parallelism().map_or(1, |count| count.get());
    let mut all = Checked::default();

    let parts: Result<Vec<_>, String> = thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|number| {
                let (first, trace, last) = (first.clone(), &trace, &last);

                scope.spawn(move || {
                    let mut part = Part {
                        request,
                        sequences,
                        cache: Cache::new(first),
                        turn: (number, threads),
                        checked: Checked::default(),
                        running: None,
                    };

                    part.run(Trace::new(trace))?;
                    match part.cache.memory() == last {
                        true => Ok(part.checked),
                        false => Err("the trace does not lead to the final memory".into()),
                    }
                })
            })
            .collect();

        parts
            .into_iter()
            .map(|part| {
                part.join()
                    .unwrap_or_else(|_| Err("a thread has panicked".into()))
            })
            .collect()
    });

    for part in parts? {
        all.add(part);
    }
    if all.sequences != sequences.len() as u64 {
        return Err(format!("{all}; but {} sequences exist", sequences.len()));
    }
    match all.wrong {
        0 => Ok(all.to_string()),
        _ => Err(all.to_string()),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// A sequence that the guest runs.
struct Running {
    number: usize,
    /// The number of finished operations.
    done: usize,
    /// The possible contents after a power failure: each byte of a file must be as in one of these
    /// versions. All versions have the same names, because operations on names are durable at once.
    /// The last version is the one that a program sees.
    versions: Vec<Model>,
    random: Random,
}

impl Running {
    fn now(&self) -> &Model {
        &self.versions[self.versions.len() - 1]
    }

    /// Updates the versions after an operation is finished.
    fn finish(&mut self, operation: Operation) {
        let mut after = self.now().clone();

        after.apply(operation);
        match operation {
            // Only fsync() makes these durable. `Reserve` and `Punch` are among them, because they
            // zero parts of pages in place.
            Operation::Write(..)
            | Operation::MapWrite(_, _, _, false)
            | Operation::Scribble(..)
            | Operation::Reserve(..)
            | Operation::Punch(..)
            | Operation::Transfer(Transfer::Copy | Transfer::Write | Transfer::Read, ..) => {
                self.versions.push(after);
            }
            Operation::Sync(id) => {
                for version in &mut self.versions {
                    if let Some(file) = after.files.get(&id) {
                        version.files.insert(id, file.clone());
                    }
                }
            }
            Operation::Append(id, len, _) => {
                let data = &after.files[&id].data;
                let at = data.len() - len;

                for version in &mut self.versions {
                    version.put(id, at, &data[at..]);
                }
            }
            // The clone gets the contents that a program sees, whether they are durable or not.
            Operation::Transfer(_, from, span, to, at) => {
                let bytes = self.now().files[&from].data[span.at..span.end()].to_vec();

                for version in &mut self.versions {
                    version.put(to, at, &bytes);
                }
            }
            _ => {
                for version in &mut self.versions {
                    version.apply(operation);
                }
            }
        }
        self.done += 1;
    }
}

/// The sequences whose states one thread checks. Other threads check other sequences in parallel.
struct Part<'a> {
    request: &'a Request,
    sequences: &'a [Sequence],
    cache: Cache,
    /// The number of this part, and the number of parts.
    turn: (usize, usize),
    checked: Checked,
    running: Option<Running>,
}

impl Part<'_> {
    fn run(&mut self, trace: Trace<'_>) -> Result<(), String> {
        for event in trace {
            let event = event?;

            match event {
                Event::Fence { .. } => {
                    self.check_before_fence()?;
                    self.cache.apply(&event);
                }
                Event::Mark(mark) => self.apply_mark(mark)?,
                _ => self.cache.apply(&event),
            }
        }
        Ok(())
    }

    /// The running operation, if it is the last of its sequence. The states during an earlier
    /// operation are not checked here, because this operation is the last of a shorter sequence.
    fn last_operation(&self) -> Option<Operation> {
        let running = self.running.as_ref()?;
        let sequence = self.sequences.get(running.number)?;

        (running.done + 1 == sequence.len()).then(|| sequence.last().copied())?
    }

    fn check_before_fence(&mut self) -> Result<(), String> {
        let Some(operation) = self.last_operation() else {
            return Ok(());
        };

        self.checked.fences += 1;
        self.check_states(Some(operation))
    }

    /// Handles a mark of the program in the guest.
    fn apply_mark(&mut self, mark: Mark) -> Result<(), String> {
        let Mark::Done(number, done) = mark else {
            self.running = None;
            return Ok(());
        };

        if number % self.turn.1 != self.turn.0 {
            return Ok(());
        }
        if done == 0 {
            self.running = Some(Running {
                number,
                done,
                versions: vec![sequences::before()],
                random: Random::new(self.request.choice.wrapping_add(number as u64)),
            });
            return Ok(());
        }

        let is_last = self.last_operation().is_some();
        let operation = self.sequences.get(number).and_then(|all| all.get(done - 1));
        let (Some(running), Some(operation)) = (self.running.as_mut(), operation) else {
            return Err(format!(
                "the guest runs sequence {number}, which does not exist"
            ));
        };

        running.finish(*operation);
        if is_last {
            self.check_states(None)?;
            self.checked.sequences += 1;
            self.running = None;
        }
        Ok(())
    }

    /// Checks the states that a power failure can leave now. `operation` is the running one, or
    /// [`None`] if all are finished.
    fn check_states(&mut self, operation: Option<Operation>) -> Result<(), String> {
        let Some(running) = self.running.as_mut() else {
            return Ok(());
        };
        let chosen = self.cache.choose(self.request.states, &mut running.random);
        let after = operation.map(|operation| {
            let mut after = running.now().clone();

            after.apply(operation);
            after
        });
        let judge = Judge {
            folder: running.number.to_string(),
            before: running.now(),
            after: after.as_ref(),
            versions: running.versions.iter().chain(&after).collect(),
            // If a clone replaces contents that were not durable, a mixture of versions is correct.
            is_whole: running.versions.len() == 1
                && matches!(operation, Some(Operation::Transfer(Transfer::Clone, ..))),
            is_growing: matches!(operation, Some(Operation::Grow)),
        };

        self.checked.moments += 1;
        self.checked.whole_moments += u64::from(chosen.are_all);
        self.checked.lines = self.checked.lines.max(chosen.in_flight);
        for lines in &chosen.states {
            self.checked.states += 1;

            let Err(wrong) = judge.check(self.cache.durable(), lines) else {
                continue;
            };

            if let (0, Some(path)) = (self.checked.wrong, &self.request.keep) {
                let bytes = Remains::new(self.cache.durable(), lines).bytes();

                fs::write(path, bytes).map_err(|e| format!("{}: {e}", path.display()))?;
            }
            self.checked.wrong += 1;
            if self.checked.shown.len() < SHOWN {
                let when = match operation {
                    Some(_) => "at a fence of the last operation",
                    None => "after the last operation",
                };

                self.checked.shown.push(format!(
                    "sequence {}, {:?}: {when}, with {} of {} lines: {wrong}",
                    running.number,
                    self.sequences[running.number],
                    lines.len(),
                    chosen.in_flight
                ));
            }
        }
        Ok(())
    }
}

/// The expected state after a power failure.
struct Judge<'a> {
    folder: String,
    before: &'a Model,
    /// The model after the running operation.
    after: Option<&'a Model>,
    /// The versions with the possible contents.
    versions: Vec<&'a Model>,
    /// Whether the contents must be those of one version as a whole.
    is_whole: bool,
    /// Whether the filesystem grows, so that its first superblock can be torn.
    is_growing: bool,
}

impl Judge<'_> {
    fn check(&self, durable: &[u8], lines: &Lines) -> Result<(), String> {
        let remains = Remains::new(durable, lines);
        let image = Image::read(&remains, self.is_growing)?;
        let folder = image.folder(&self.folder)?;
        let found = image.list(folder)?;
        let Some(names) = [Some(self.before), self.after]
            .into_iter()
            .flatten()
            .find(|model| image::expected(model) == found)
        else {
            let last = self.after.unwrap_or(self.before);

            return Err(format!(
                "the names are neither as before nor as after: {}",
                image::difference(&found, &image::expected(last))
            ));
        };

        for (path, id) in image::paths(names) {
            let versions: Vec<_> = self
                .versions
                .iter()
                .filter_map(|version| version.files.get(&id))
                .map(|file| file.data.as_slice())
                .collect();

            if names.files[&id].kind == Kind::Regular {
                let bytes = image.contents(&remains, folder, &path)?;

                self.compare(&bytes, &versions)
                    .map_err(|wrong| format!("{path}: {wrong}"))?;
            }
        }
        Ok(())
    }

    /// Checks that contents are possible, given their versions.
    fn compare(&self, bytes: &[u8], versions: &[&[u8]]) -> Result<(), String> {
        if versions.contains(&bytes) {
            return Ok(());
        }

        let sizes: Vec<_> = versions.iter().map(|version| version.len()).collect();

        if !sizes.contains(&bytes.len()) {
            return Err(format!("{} bytes instead of one of {sizes:?}", bytes.len()));
        }
        if self.is_whole {
            // A clone sets the size last, so the file can be a prefix of a version.
            let is_before_size = |version: &&[u8]| version.get(..bytes.len()) == Some(bytes);

            return match versions.iter().any(is_before_size) {
                true => Ok(()),
                false => Err("it is only partly cloned".into()),
            };
        }

        let is_possible = |at: usize, byte: u8| {
            let mut versions = versions.iter();

            versions.any(|version| version.get(at).copied().unwrap_or(0) == byte)
        };

        match (0..bytes.len()).find(|at| !is_possible(*at, bytes[*at])) {
            Some(at) => Err(format!(
                "of {} bytes, the one at {at:#x} is {:#04x}, which is not in any version",
                bytes.len(),
                bytes[at]
            )),
            None => Ok(()),
        }
    }
}
