// SPDX-License-Identifier: GPL-2.0

//! A model of the expected files in memory: their names and contents. It does not depend on the
//! filesystem, so the same seed always makes the same files.

mod choice;
pub mod file;

use std::collections::BTreeMap;

use crate::operation::{Id, Name, Operation, Reserve, Transfer};
use crate::random;
use crate::span::{Span, PAGE};

use file::{File, Kind};

/// The directories of the names: name number n is in `PLACES[n % 3]`. The first directory is the
/// directory of the test, and contains the other two.
pub const PLACES: [&str; 3] = ["", "a", "b"];

/// All files of a directory.
#[derive(Clone)]
pub struct Model {
    pub names: Vec<Option<Id>>,
    /// All files with a name, and open files without one.
    pub files: BTreeMap<Id, File>,
    next: Id,
    limit: usize,
    /// Whether operations make memory fail.
    fails: bool,
    /// A bad page that the last operation has overwritten.
    rewritten: Option<(Id, usize)>,
}

impl Model {
    /// Makes a model without files, for files of at most `limit` bytes. If `fails` is true,
    /// operations make memory fail.
    pub fn new(names: usize, limit: usize, fails: bool) -> Self {
        Self {
            names: vec![None; names],
            files: BTreeMap::new(),
            next: 0,
            limit,
            fails,
            rewritten: None,
        }
    }

    /// The first name of a file.
    pub fn name_of(&self, id: Id) -> Option<Name> {
        self.names.iter().position(|at| *at == Some(id))
    }

    /// The number of the next file that is created.
    pub fn next(&self) -> Id {
        self.next
    }

    fn kind_at(&self, name: Name) -> Option<Kind> {
        Some(self.files[&self.names[name]?].kind)
    }

    /// The number of directories in `PLACES[place]`.
    pub fn directories_in(&self, place: usize) -> usize {
        let made = match place {
            0 => PLACES.len() - 1,
            _ => 0,
        };

        made + (place..self.names.len())
            .step_by(PLACES.len())
            .filter(|name| self.kind_at(*name) == Some(Kind::Directory))
            .count()
    }

    /// Applies an operation to the model.
    pub fn apply(&mut self, operation: Operation) {
        self.rewritten = None;
        match operation {
            Operation::Create(name) => {
                self.add(Some(name), File::new(Kind::Regular));
            }
            Operation::MakeDirectory(name) => self.add(Some(name), File::new(Kind::Directory)),
            Operation::MakeLink(name, len, fill) => {
                let file = File {
                    data: random::letters(fill, len),
                    ..File::new(Kind::Symlink)
                };

                self.add(Some(name), file);
            }
            Operation::Temporary => {
                let file = File {
                    links: 0,
                    is_temporary: true,
                    ..File::new(Kind::Regular)
                };

                self.add(None, file);
            }
            Operation::Write(id, span, fill) | Operation::MapWrite(id, span, fill, _) => {
                self.put(id, span.at, &random::bytes(fill, span.len));
            }
            Operation::Append(id, len, fill) => {
                self.put(id, self.files[&id].data.len(), &random::bytes(fill, len));
            }
            Operation::Truncate(id, size) => {
                let file = self.file(id);

                file.data.resize(size, 0);
                file.bad.retain(|page| page * PAGE < size);
            }
            Operation::Reserve(kind, id, span, grows) => {
                self.grow(id, span, grows);
                if kind == Reserve::Zero {
                    self.zero(id, span);
                }
            }
            Operation::Punch(id, span) => self.zero(id, span),
            Operation::Transfer(Transfer::Dedupe, ..) => {}
            Operation::Transfer(_, from, span, to, at) => {
                let bytes = self.files[&from].data[span.at..span.end()].to_vec();

                self.put(to, at, &bytes);
            }
            Operation::Mode(id, mode) => self.file(id).mode = mode,
            Operation::SetAttribute(id, attribute, len, fill) => {
                let value = random::bytes(fill, len);

                self.file(id).attributes.insert(attribute, value);
            }
            Operation::RemoveAttribute(id, attribute) => {
                self.file(id).attributes.remove(&attribute);
            }
            Operation::Rename(from, to) => {
                // rename() does nothing if both names are of the same file.
                if self.names[from] != self.names[to] {
                    self.unlink(to);
                    self.names[to] = self.names[from].take();
                }
            }
            Operation::Exchange(from, to) => self.names.swap(from, to),
            Operation::Link(from, to) => {
                self.names[to] = self.names[from];
                if let Some(id) = self.names[from] {
                    self.file(id).links += 1;
                }
            }
            Operation::Publish(id, name) => {
                self.names[name] = Some(id);
                self.file(id).links = 1;
                self.file(id).is_temporary = false;
            }
            Operation::Unlink(name) => self.unlink(name),
            Operation::Close(id) => {
                if self.files[&id].links == 0 {
                    self.files.remove(&id);
                }
            }
            Operation::Remount => self.files.retain(|_, file| file.links > 0),
            Operation::Fail(id, page) => self.fail(id, page),
            Operation::Scribble(..)
            | Operation::Read(..)
            | Operation::MapRead(..)
            | Operation::Seek(_)
            | Operation::Sync(_)
            | Operation::Compare
            | Operation::Grow => {}
        }
    }

    fn add(&mut self, name: Option<Name>, file: File) {
        self.files.insert(self.next, file);
        if let Some(name) = name {
            self.names[name] = Some(self.next);
        }
        self.next += 1;
    }

    fn file(&mut self, id: Id) -> &mut File {
        self.files.entry(id).or_default()
    }

    /// Writes bytes to a file.
    pub fn put(&mut self, id: Id, at: usize, bytes: &[u8]) {
        let file = self.file(id);
        let span = Span {
            at,
            len: bytes.len(),
        };
        let rewritten = file
            .bad
            .iter()
            .find(|page| file.page(**page).overlaps(span));
        let rewritten = rewritten.map(|page| (id, *page));

        file.clear_bad(span);
        file.data.resize(file.data.len().max(span.end()), 0);
        file.data[at..span.end()].copy_from_slice(bytes);
        self.rewritten = rewritten;
    }

    /// Marks a page as bad, in all files that possibly share it.
    fn fail(&mut self, id: Id, page: usize) {
        let failed = self.files[&id].contents(page).to_vec();

        for file in self.files.values_mut() {
            let pages = 0..file.data.len().div_ceil(PAGE);
            // The last page of a file can be shared with a full page of another file, so compare
            // only the common length.
            let same: Vec<_> = pages
                .filter(|page| {
                    let page = file.contents(*page);
                    let len = page.len().min(failed.len());

                    file.kind == Kind::Regular && page[..len] == failed[..len]
                })
                .collect();

            file.bad.extend(same);
        }
    }

    fn grow(&mut self, id: Id, span: Span, grows: bool) {
        let data = &mut self.file(id).data;

        if grows && data.len() < span.end() {
            data.resize(span.end(), 0);
        }
    }

    fn zero(&mut self, id: Id, span: Span) {
        let file = self.file(id);
        let end = span.end().min(file.data.len());

        file.clear_bad(span);
        file.data[span.at.min(end)..end].fill(0);
    }

    /// Removes a name. A regular file without a name stays in the model, because it is open.
    fn unlink(&mut self, name: Name) {
        let Some(id) = self.names[name].take() else {
            return;
        };
        let file = self.file(id);

        file.links = match file.kind {
            Kind::Directory => 0,
            _ => file.links - 1,
        };
        if file.links == 0 && file.kind != Kind::Regular {
            self.files.remove(&id);
        }
    }
}
