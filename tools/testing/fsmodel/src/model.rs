// SPDX-License-Identifier: GPL-2.0

//! What the files must be: names and contents, in memory. It never looks at the filesystem, so the
//! same seed always makes the same files.

use std::collections::{BTreeMap, BTreeSet};

use crate::random::{self, Random};

/// Size of a page and of a block of the filesystem, in bytes.
pub const PAGE: usize = 4096;

/// How large most ranges are at most, as a power of two.
const SMALL: usize = 16;

/// How many extended attributes a file may have.
const ATTRIBUTES: usize = 4;

/// The directories that names are in, one after the other. The first is the one that all is in.
pub const PLACES: [&str; 3] = ["", "a", "b"];

/// A file, whatever names it has.
pub type Id = usize;

/// A name, by its number.
pub type Name = usize;

/// An extended attribute, by its number.
pub type Attribute = usize;

/// A range of a file, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub at: usize,
    pub len: usize,
}

impl Span {
    pub fn end(self) -> usize {
        self.at + self.len
    }

    fn overlaps(self, other: Self) -> bool {
        self.at < other.end() && other.at < self.end()
    }
}

/// What is done with a range of another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// `FICLONERANGE`, or `FICLONE` of all of it.
    Clone,
    /// `copy_file_range()`.
    Copy,
    /// `FIDEDUPERANGE`.
    Dedupe,
    /// `write()` out of a mapping of it.
    Write,
    /// `read()` of it into a mapping.
    Read,
}

/// What `fallocate()` makes of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserve {
    Allocate,
    Unshare,
    Zero,
}

/// One operation. The number with a write says what bytes it writes.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    Create(Name),
    MakeDirectory(Name),
    /// With a target of this many bytes.
    MakeLink(Name, usize, u64),
    /// A file without a name, that may get one.
    Temporary,
    Write(Id, Span, u64),
    /// With `O_SYNC`.
    Append(Id, usize, u64),
    /// Through a mapping; then `msync()`, or not.
    MapWrite(Id, Span, u64, bool),
    /// Through a mapping, what lies behind the end in the last page.
    Scribble(Id, u64),
    Read(Id, Span),
    MapRead(Id, Span),
    /// All of its data and holes.
    Seek(Id),
    Truncate(Id, usize),
    /// Growing the file, or not.
    Reserve(Reserve, Id, Span, bool),
    Punch(Id, Span),
    Transfer(Transfer, Id, Span, Id, usize),
    Mode(Id, u32),
    SetAttribute(Id, Attribute, usize, u64),
    RemoveAttribute(Id, Attribute),
    Rename(Name, Name),
    Exchange(Name, Name),
    Link(Name, Name),
    /// A name for a file that has none.
    Publish(Id, Name),
    Unlink(Name),
    Sync(Id),
    /// Unmap and close. A file without a name goes.
    Close(Id),
    /// The memory of a page of it fails.
    Fail(Id, usize),
    /// Compare all.
    Compare,
    /// The filesystem grows by as little as it can, as long as its device has room for that.
    Grow,
    /// Close all, and mount again if that is possible.
    Remount,
}

/// What a file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    #[default]
    Regular,
    /// It is empty.
    Directory,
    Symlink,
}

/// A file of any kind.
#[derive(Clone, Default)]
pub struct File {
    pub kind: Kind,
    /// The contents, or the target.
    pub data: Vec<u8>,
    pub links: u64,
    pub mode: u32,
    pub attributes: BTreeMap<Attribute, Vec<u8>>,
    /// Pages whose memory may have failed since they were written: who reads one may get an error.
    pub lost: BTreeSet<usize>,
    /// It never had a name, and may get one.
    is_temporary: bool,
}

impl File {
    fn new(kind: Kind) -> Self {
        let (links, mode) = match kind {
            Kind::Regular => (1, 0o644),
            Kind::Directory => (2, 0o755),
            Kind::Symlink => (1, 0o777),
        };

        Self {
            kind,
            links,
            mode,
            ..Self::default()
        }
    }
}

impl File {
    /// A page, as far as the file goes.
    fn page(&self, page: usize) -> Span {
        inside(
            Span {
                at: page * PAGE,
                len: PAGE,
            },
            self.data.len(),
        )
    }

    fn contents(&self, page: usize) -> &[u8] {
        let span = self.page(page);

        &self.data[span.at..span.end()]
    }

    /// Whether nothing of a range is lost.
    pub fn is_sound(&self, span: Span) -> bool {
        !self.lost.iter().any(|page| self.page(*page).overlaps(span))
    }

    /// Whether each page of a range that is lost lies in it as a whole, as far as the file goes.
    fn has_whole(&self, span: Span) -> bool {
        self.lost.iter().all(|page| {
            let page = self.page(*page);

            !page.overlaps(span) || (span.at <= page.at && page.end() <= span.end())
        })
    }

    /// Whether each page of a range that is lost lies in it, also behind the end of the file.
    fn has_whole_pages(&self, span: Span) -> bool {
        self.lost.iter().all(|page| {
            let (at, end) = (page * PAGE, (page + 1) * PAGE);

            end <= span.at || span.end() <= at || (span.at <= at && end <= span.end())
        })
    }

    /// Whether the last page can be made longer.
    fn can_grow(&self) -> bool {
        let size = self.data.len();

        size % PAGE == 0 || !self.lost.contains(&(size / PAGE))
    }

    /// What is in a range is new, or goes.
    fn forget_lost(&mut self, span: Span) {
        let size = self.data.len();

        self.lost.retain(|page| {
            let at = page * PAGE;

            !(span.at <= at && size.min(at + PAGE) <= span.end())
        });
    }
}

/// All files of a directory.
#[derive(Clone)]
pub struct Model {
    pub names: Vec<Option<Id>>,
    /// Those with a name, and those that are only open.
    pub files: BTreeMap<Id, File>,
    next: Id,
    limit: usize,
    /// Memory fails.
    fails: bool,
    /// A page that was lost and was just written.
    rewritten: Option<(Id, usize)>,
}

impl Model {
    /// For files of at most `limit` bytes, in memory that fails, or not.
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

    /// A name of a file.
    pub fn name_of(&self, id: Id) -> Option<Name> {
        self.names.iter().position(|at| *at == Some(id))
    }

    /// The file that the next operation makes, if it does.
    pub fn next(&self) -> Id {
        self.next
    }

    fn kind_at(&self, name: Name) -> Option<Kind> {
        Some(self.files[&self.names[name]?].kind)
    }

    /// How many directories there are in a place.
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

    // Choosing
    // ---------------------------------------------------------------------------------------------

    /// The next operation, which is possible.
    pub fn choose(&self, random: &mut Random) -> Operation {
        loop {
            let operation = match self.fails {
                true => self
                    .choose_failure(random)
                    .or_else(|| self.try_choose(random)),
                false => self.try_choose(random),
            };

            if let Some(operation) = operation.filter(|operation| self.is_possible(*operation)) {
                return operation;
            }
        }
    }

    /// A failure, or what one does about it: a page that is lost is written whole, and then
    /// something is stored to it.
    fn choose_failure(&self, random: &mut Random) -> Option<Operation> {
        let fill = random.number();

        if let Some((id, page)) = self.rewritten {
            let page = self.files.get(&id)?.page(page);
            let at = page.at + random.below(page.len.max(1));
            let len = 1 + random.below((page.end() - at).max(1));

            return Some(Operation::MapWrite(id, Span { at, len }, fill, false));
        }
        match random.below(24) {
            0 => {
                let id = self.any(random, Kind::Regular)?;
                let file = &self.files[&id];
                let page = random.below(file.data.len().div_ceil(PAGE).max(1));
                // Zeroes may be a hole.
                let is_there = file.contents(page).iter().any(|byte| *byte != 0);

                (is_there && !file.lost.contains(&page)).then_some(Operation::Fail(id, page))
            }
            1..4 => {
                let mut files = self.files.iter();
                let (id, file) = files.find(|(_, file)| !file.lost.is_empty())?;
                let page = *file.lost.first()?;

                match random.once_in(4) {
                    true => Some(Operation::Punch(
                        *id,
                        Span {
                            at: page * PAGE,
                            len: PAGE,
                        },
                    )),
                    false => Some(Operation::Write(*id, file.page(page), fill)),
                }
            }
            _ => None,
        }
    }

    /// Whether an operation touches nothing that is lost, or all of it.
    fn is_possible(&self, operation: Operation) -> bool {
        let file = |id: Id| self.files.get(&id);
        let sound = |id, span| file(id).is_none_or(|file| file.is_sound(span));
        let whole = |id, span| file(id).is_none_or(|file| file.has_whole(span));
        let pages = |id, span| file(id).is_none_or(|file| file.has_whole_pages(span));
        let can_grow = |id| file(id).is_none_or(File::can_grow);
        let size = |id| file(id).map_or(0, |file| file.data.len());

        match operation {
            Operation::Write(id, span, _) => {
                whole(id, span) && (span.at <= size(id) || can_grow(id))
            }
            Operation::Append(id, ..) | Operation::Scribble(id, _) => can_grow(id),
            Operation::MapWrite(id, span, ..) | Operation::MapRead(id, span) => sound(id, span),
            Operation::Truncate(id, new) => {
                let last = Span {
                    at: new,
                    len: new.next_multiple_of(PAGE) - new,
                };

                sound(id, last) && can_grow(id)
            }
            Operation::Reserve(Reserve::Allocate, id, ..) => can_grow(id),
            Operation::Reserve(Reserve::Unshare, id, span, _) => sound(id, span) && can_grow(id),
            Operation::Reserve(Reserve::Zero, id, span, _) => pages(id, span) && can_grow(id),
            Operation::Punch(id, span) => pages(id, span),
            Operation::Transfer(_, from, span, to, at) => {
                sound(from, span) && sound(to, Span { at, ..span }) && can_grow(to)
            }
            _ => true,
        }
    }

    fn try_choose(&self, random: &mut Random) -> Option<Operation> {
        let id = self.any(random, Kind::Regular);

        match (random.below(100), id) {
            (0..20, _) | (_, None) => self.choose_name(random),
            (20..24, _) => self.choose_attribute(random),
            (24..45, Some(id)) => self.transfer(random, id),
            (45.., Some(id)) => self.choose_contents(random, id),
        }
    }

    fn choose_name(&self, random: &mut Random) -> Option<Operation> {
        let name = random.below(self.names.len());
        let other = random.below(self.names.len());
        let kind = self.kind_at(name);
        let other_kind = self.kind_at(other);
        let is_free = kind.is_none();
        let fill = random.number();

        match random.below(20) {
            0..3 => is_free.then_some(Operation::Create(name)),
            3 => is_free.then_some(Operation::MakeDirectory(name)),
            4 => is_free.then_some(Operation::MakeLink(name, 1 + random.below(1000), fill)),
            5 => Some(Operation::Temporary),
            6 => {
                let id = *self.files.iter().find(|(_, file)| file.is_temporary)?.0;

                is_free.then_some(Operation::Publish(id, name))
            }
            7..12 => {
                let is_directory = kind? == Kind::Directory;
                let is_possible =
                    other_kind.is_none_or(|other| is_directory == (other == Kind::Directory));

                (name != other && is_possible).then_some(Operation::Rename(name, other))
            }
            12 | 13 => {
                let is_possible = kind.is_some() && other_kind.is_some();

                (name != other && is_possible).then_some(Operation::Exchange(name, other))
            }
            14..17 => {
                let is_possible = kind? != Kind::Directory && other_kind.is_none();

                is_possible.then_some(Operation::Link(name, other))
            }
            _ => (!is_free).then_some(Operation::Unlink(name)),
        }
    }

    fn choose_attribute(&self, random: &mut Random) -> Option<Operation> {
        let kind = match random.once_in(4) {
            true => Kind::Directory,
            false => Kind::Regular,
        };
        let id = self.any(random, kind)?;
        let attribute = random.below(ATTRIBUTES);
        let bits = random.below(12);

        match random.below(4) {
            0 => Some(Operation::Mode(id, random.below(0o2000) as u32)),
            1 => self.files[&id]
                .attributes
                .contains_key(&attribute)
                .then_some(Operation::RemoveAttribute(id, attribute)),
            _ => Some(Operation::SetAttribute(
                id,
                attribute,
                random.below(1 << bits),
                random.number(),
            )),
        }
    }

    fn choose_contents(&self, random: &mut Random, id: Id) -> Option<Operation> {
        let fill = random.number();
        let span = self.span(random);
        let size = self.files[&id].data.len();
        let inside = inside(span, size);
        let grows = random.once_in(2);

        match random.below(100) {
            0..25 => Some(Operation::Write(id, span, fill)),
            25..30 => {
                let len = span.len.min(self.limit - size);

                (len > 0).then_some(Operation::Append(id, len, fill))
            }
            30..50 => {
                (inside.len > 0).then_some(Operation::MapWrite(id, inside, fill, fill % 4 == 0))
            }
            50..53 => (size % PAGE > 0).then_some(Operation::Scribble(id, fill)),
            53..60 => Some(Operation::Read(id, span)),
            60..67 => (inside.len > 0).then_some(Operation::MapRead(id, inside)),
            67 | 68 => Some(Operation::Seek(id)),
            69..77 => Some(Operation::Truncate(id, span.at)),
            77..81 => Some(Operation::Reserve(Reserve::Allocate, id, span, grows)),
            81 | 82 => Some(Operation::Reserve(Reserve::Unshare, id, span, grows)),
            83..87 => Some(Operation::Reserve(Reserve::Zero, id, span, grows)),
            87..93 => Some(Operation::Punch(id, span)),
            93..96 => Some(Operation::Sync(id)),
            96..98 => Some(Operation::Close(id)),
            _ => match random.below(8) {
                0..3 => Some(Operation::Compare),
                3 => Some(Operation::Remount),
                _ => None,
            },
        }
    }

    fn any(&self, random: &mut Random, kind: Kind) -> Option<Id> {
        let all = || self.files.iter().filter(|(_, file)| file.kind == kind);
        let count = all().count();

        (count > 0).then(|| all().nth(random.below(count)).map(|(id, _)| *id))?
    }

    /// A range that is not empty and within the limit. Small ones are more likely.
    fn span(&self, random: &mut Random) -> Span {
        let bits = match random.once_in(16) {
            true => self.limit.ilog2() as usize,
            false => 1 + random.below(SMALL),
        };
        let mut len = (1 + random.below(1 << bits)).min(self.limit);
        let mut at = random.below(self.limit - len + 1);

        if random.once_in(2) {
            at &= !(PAGE - 1);
        }
        if random.once_in(2) {
            len = len.next_multiple_of(PAGE).min(self.limit - at);
        }
        Span { at, len }
    }

    fn transfer(&self, random: &mut Random, id: Id) -> Option<Operation> {
        let to = self.any(random, Kind::Regular)?;
        let kind = match random.below(10) {
            0..5 => Transfer::Clone,
            5 | 6 => Transfer::Copy,
            7 => Transfer::Dedupe,
            8 => Transfer::Write,
            _ => Transfer::Read,
        };
        let size = self.files[&id].data.len();
        let to_size = self.files[&to].data.len();
        let mut span = inside(self.span(random), size);
        let mut to_at = random.below(self.limit);

        if kind == Transfer::Clone && random.once_in(4) {
            span = Span { at: 0, len: size };
            to_at = 0;
        }
        if matches!(kind, Transfer::Clone | Transfer::Dedupe) || random.once_in(2) {
            let end = span.end();

            to_at &= !(PAGE - 1);
            span.at &= !(PAGE - 1);
            span.len = end - span.at;
            // Part of a block is possible at the end of the file only, where the other file ends,
            // too, or is longer then.
            if kind == Transfer::Dedupe || end != size || to_at + span.len < to_size {
                span.len &= !(PAGE - 1);
            }
        }
        match kind {
            Transfer::Dedupe => {
                if random.below(4) > 0 {
                    (to_at, span.len) = self.same(id, span, to)?;
                }
                to_at = to_at.min(to_size & !(PAGE - 1));
                span.len = span.len.min((to_size - to_at) & !(PAGE - 1));
            }
            // A mapping has no more than the file.
            Transfer::Read => {
                to_at = to_at.min(to_size);
                span.len = span.len.min(to_size - to_at);
            }
            _ => {}
        }

        let there = Span { at: to_at, ..span };
        let is_possible =
            span.len > 0 && there.end() <= self.limit && !(id == to && span.overlaps(there));

        is_possible.then_some(Operation::Transfer(kind, id, span, to, to_at))
    }

    /// Where another file has the same pages, and how many bytes of them.
    fn same(&self, id: Id, span: Span, to: Id) -> Option<(usize, usize)> {
        let from = self.files[&id].data.get(span.at..span.end())?;
        let to = &self.files[&to].data;
        let first = from.get(..PAGE)?;
        let at = (0..to.len() / PAGE)
            .map(|page| page * PAGE)
            .filter(|at| *at != span.at)
            .find(|at| &to[*at..*at + PAGE] == first)?;
        let pages = from
            .chunks_exact(PAGE)
            .zip(to[at..].chunks_exact(PAGE))
            .take_while(|(from, to)| from == to)
            .count();

        Some((at, pages * PAGE))
    }

    // Doing
    // ---------------------------------------------------------------------------------------------

    /// Does an operation.
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
                file.lost.retain(|page| page * PAGE < size);
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
                // If both are the same file, nothing happens.
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

    /// Puts bytes to a place of a file.
    pub fn put(&mut self, id: Id, at: usize, bytes: &[u8]) {
        let file = self.file(id);
        let span = Span {
            at,
            len: bytes.len(),
        };
        let rewritten = file
            .lost
            .iter()
            .find(|page| file.page(**page).overlaps(span));
        let rewritten = rewritten.map(|page| (id, *page));

        file.forget_lost(span);
        file.data.resize(file.data.len().max(span.end()), 0);
        file.data[at..span.end()].copy_from_slice(bytes);
        self.rewritten = rewritten;
    }

    /// A page is lost, also in all files that may share it.
    fn fail(&mut self, id: Id, page: usize) {
        let failed = self.files[&id].contents(page).to_vec();

        for file in self.files.values_mut() {
            let pages = 0..file.data.len().div_ceil(PAGE);
            // The end of a file may be the start of another one's page.
            let same: Vec<_> = pages
                .filter(|page| {
                    let page = file.contents(*page);
                    let len = page.len().min(failed.len());

                    file.kind == Kind::Regular && page[..len] == failed[..len]
                })
                .collect();

            file.lost.extend(same);
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

        file.forget_lost(span);
        file.data[span.at.min(end)..end].fill(0);
    }

    /// Takes a name away. A file that is open without one stays.
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

/// What a range has in common with the first `size` bytes.
fn inside(span: Span, size: usize) -> Span {
    Span {
        at: span.at.min(size),
        len: span.len.min(size.saturating_sub(span.at)),
    }
}
