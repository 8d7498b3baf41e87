// SPDX-License-Identifier: GPL-2.0

//! Checks what power failures may leave of a filesystem on which sequences of operations were done.
//!
//! The plugin of QEMU has written down what the guest stored, wrote back and fenced. That is done
//! again here, without a guest. At each fence, and at the end of each operation, states are made
//! that a power failure could leave at this moment: what is durable, and a subset of the lines that
//! are not. In each of them fsck must find nothing to repair, and the files must be as before the
//! operation or as after it.

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
use image::{Image, Left};
use trace::{Event, Trace};

/// How many wrong states are shown.
const SHOWN: usize = 10;

/// What is to be checked.
#[derive(Args)]
pub struct Request {
    /// How many states at a moment at most. If there are not more than that, all are checked.
    #[arg(long, default_value_t = 64)]
    states: usize,
    /// What those follow from that are chosen of more.
    #[arg(long, default_value_t = 1)]
    choice: u64,
    /// Where the first state that is wrong goes.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// What was in the memory first.
    first: PathBuf,
    /// What the guest did with it.
    trace: PathBuf,
    /// What was in the memory in the end.
    last: PathBuf,
}

/// How much was checked.
#[derive(Default)]
pub struct Checked {
    sequences: u64,
    fences: u64,
    /// States, and of how many moments they are all that there are.
    states: u64,
    moments: u64,
    whole_moments: u64,
    /// The most lines that were not durable at a moment.
    lines: usize,
    /// How many states are wrong, and what is wrong with the first.
    wrong: u64,
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
            "{} sequences, {} fences, {} states at {} moments ({} of these have no others), up to \
             {} lines not durable; {} states are wrong",
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

/// Checks the states that `sequences` may leave.
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
                        false => Err("the guest has stored what is not in the trace".into()),
                    }
                })
            })
            .collect();

        parts
            .into_iter()
            .map(|part| {
                part.join()
                    .unwrap_or_else(|_| Err("a part has died".into()))
            })
            .collect()
    });

    for part in parts? {
        all.add(part);
    }
    if all.sequences != sequences.len() as u64 {
        return Err(format!("{all}, and there are {}", sequences.len()));
    }
    match all.wrong {
        0 => Ok(all.to_string()),
        _ => Err(all.to_string()),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// A sequence that the guest is doing.
struct Running {
    number: usize,
    /// How many operations are done.
    done: usize,
    /// What each file may be if the power fails now, byte by byte. All have the same names, for
    /// these are durable at once; the last one is what a program sees.
    versions: Vec<Model>,
    random: Random,
}

impl Running {
    fn now(&self) -> &Model {
        &self.versions[self.versions.len() - 1]
    }

    /// An operation is done.
    fn finish(&mut self, operation: Operation) {
        let mut after = self.now().clone();

        after.apply(operation);
        match operation {
            // Only fsync() makes these durable: parts of pages are zeroed in place.
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
            // What is cloned is what a program has seen.
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

/// Every so many sequences, which are checked side by side with the others.
struct Part<'a> {
    request: &'a Request,
    sequences: &'a [Sequence],
    cache: Cache,
    /// Which of so many parts it is.
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
                Event::Mark(mark) => self.go_on(mark)?,
                _ => self.cache.apply(&event),
            }
        }
        Ok(())
    }

    /// The operation that is under way, if its states are to be checked: it is the last one of its
    /// sequence. The ones before are the last of another sequence.
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

    /// A program is so far.
    fn go_on(&mut self, mark: Mark) -> Result<(), String> {
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
                "the guest does a sequence {number} that there is not"
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

    /// Checks states that may be left now, while an operation is under way, or not.
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
            // Where something was not durable before, it may be there in part.
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
                let bytes = Left::new(self.cache.durable(), lines).bytes();

                fs::write(path, bytes).map_err(|e| format!("{}: {e}", path.display()))?;
            }
            self.checked.wrong += 1;
            if self.checked.shown.len() < SHOWN {
                let when = match operation {
                    Some(_) => "at a fence of the last operation",
                    None => "when all are done",
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

/// What must be left.
struct Judge<'a> {
    folder: String,
    before: &'a Model,
    /// The same once the operation is done that is under way.
    after: Option<&'a Model>,
    /// What each byte of a file may be.
    versions: Vec<&'a Model>,
    /// The operation changes contents as a whole.
    is_whole: bool,
    /// The filesystem grows: its first superblock is written.
    is_growing: bool,
}

impl Judge<'_> {
    fn check(&self, durable: &[u8], lines: &Lines) -> Result<(), String> {
        let left = Left::new(durable, lines);
        let image = Image::read(&left, self.is_growing)?;
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
                let bytes = image.contents(&left, folder, &path)?;

                self.compare(&bytes, &versions)
                    .map_err(|wrong| format!("{path}: {wrong}"))?;
            }
        }
        Ok(())
    }

    /// Compares contents with those that they may be.
    fn compare(&self, bytes: &[u8], versions: &[&[u8]]) -> Result<(), String> {
        if versions.contains(&bytes) {
            return Ok(());
        }

        let sizes: Vec<_> = versions.iter().map(|version| version.len()).collect();

        if !sizes.contains(&bytes.len()) {
            return Err(format!("{} bytes, not one of {sizes:?}", bytes.len()));
        }
        if self.is_whole {
            // The size is set last.
            let is_before_size = |version: &&[u8]| version.get(..bytes.len()) == Some(bytes);

            return match versions.iter().any(is_before_size) {
                true => Ok(()),
                false => Err("a part of a clone".into()),
            };
        }

        let may_be = |at: usize, byte: u8| {
            let mut versions = versions.iter();

            versions.any(|version| version.get(at).copied().unwrap_or(0) == byte)
        };

        match (0..bytes.len()).find(|at| !may_be(*at, bytes[*at])) {
            Some(at) => Err(format!(
                "of {} bytes, that at {at:#x} is {:#04x}, which it never was",
                bytes.len(),
                bytes[at]
            )),
            None => Ok(()),
        }
    }
}
