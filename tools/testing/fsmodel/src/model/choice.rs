// SPDX-License-Identifier: GPL-2.0

//! Chooses the next operation at random from the possible ones.

use crate::operation::{Id, Operation, Reserve, Transfer};
use crate::random::Random;
use crate::span::{inside, Span, PAGE};

use super::file::{File, Kind};
use super::Model;

/// The maximum length of most ranges in bytes, as a power of two.
const SMALL: usize = 16;

/// The number of different extended attributes.
const ATTRIBUTES: usize = 4;

impl Model {
    /// Chooses the next operation.
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

    /// Chooses a failure of a page, or the repair of a bad page. A repair overwrites the whole
    /// page, or punches it. The operation after an overwrite stores to the page.
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
                // A page of zeroes can be a hole, which has no memory that can fail.
                let has_data = file.contents(page).iter().any(|byte| *byte != 0);

                (has_data && !file.bad.contains(&page)).then_some(Operation::Fail(id, page))
            }
            1..4 => {
                let mut files = self.files.iter();
                let (id, file) = files.find(|(_, file)| !file.bad.is_empty())?;
                let page = *file.bad.first()?;

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

    /// Whether an operation is possible in files with bad pages: it must overwrite each bad page as
    /// a whole, or not access it.
    fn is_possible(&self, operation: Operation) -> bool {
        let file = |id: Id| self.files.get(&id);
        let good = |id, span| file(id).is_none_or(|file| file.is_good(span));
        let whole = |id, span| file(id).is_none_or(|file| file.has_whole(span));
        let pages = |id, span| file(id).is_none_or(|file| file.has_whole_pages(span));
        let can_grow = |id| file(id).is_none_or(File::can_grow);
        let size = |id| file(id).map_or(0, |file| file.data.len());

        match operation {
            Operation::Write(id, span, _) => {
                whole(id, span) && (span.at <= size(id) || can_grow(id))
            }
            Operation::Append(id, ..) | Operation::Scribble(id, _) => can_grow(id),
            Operation::MapWrite(id, span, ..) | Operation::MapRead(id, span) => good(id, span),
            Operation::Truncate(id, new) => {
                let last = Span {
                    at: new,
                    len: new.next_multiple_of(PAGE) - new,
                };

                good(id, last) && can_grow(id)
            }
            Operation::Reserve(Reserve::Allocate, id, ..) => can_grow(id),
            Operation::Reserve(Reserve::Unshare, id, span, _) => good(id, span) && can_grow(id),
            Operation::Reserve(Reserve::Zero, id, span, _) => pages(id, span) && can_grow(id),
            Operation::Punch(id, span) => pages(id, span),
            Operation::Transfer(_, from, span, to, at) => {
                good(from, span) && good(to, Span { at, ..span }) && can_grow(to)
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

    /// A random range, which is not empty and within the limit. Most ranges are small.
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
            // The kernel clones a part of a block only at the end of the source, and only if the
            // target ends there or becomes longer.
            if kind == Transfer::Dedupe || end != size || to_at + span.len < to_size {
                span.len &= !(PAGE - 1);
            }
        }
        match kind {
            Transfer::Dedupe => {
                if random.below(4) > 0 {
                    (to_at, span.len) = self.find_same_pages(id, span, to)?;
                }
                to_at = to_at.min(to_size & !(PAGE - 1));
                span.len = span.len.min((to_size - to_at) & !(PAGE - 1));
            }
            // The read must not go beyond the end of the mapped file.
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

    /// Finds the pages of `span` in file `to`. Returns their offset, and the number of equal bytes.
    fn find_same_pages(&self, id: Id, span: Span, to: Id) -> Option<(usize, usize)> {
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
}
