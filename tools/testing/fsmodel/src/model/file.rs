// SPDX-License-Identifier: GPL-2.0

//! The expected contents and attributes of a file, and its bad pages.

use std::collections::{BTreeMap, BTreeSet};

use crate::operation::Attribute;
use crate::span::{inside, Span, PAGE};

/// The type of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    #[default]
    Regular,
    /// An empty directory.
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
    /// Pages that are possibly bad: their memory can have failed since they were written, so that a
    /// read can fail.
    pub bad: BTreeSet<usize>,
    /// Whether the file never had a name, so that `Publish` can give it one.
    pub(super) is_temporary: bool,
}

impl File {
    pub(super) fn new(kind: Kind) -> Self {
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

    /// The range of a page, as far as the file goes.
    pub(super) fn page(&self, page: usize) -> Span {
        inside(
            Span {
                at: page * PAGE,
                len: PAGE,
            },
            self.data.len(),
        )
    }

    pub(super) fn contents(&self, page: usize) -> &[u8] {
        let span = self.page(page);

        &self.data[span.at..span.end()]
    }

    /// Whether a range has no bad page.
    pub fn is_good(&self, span: Span) -> bool {
        !self.bad.iter().any(|page| self.page(*page).overlaps(span))
    }

    /// Whether a range contains the whole of each bad page that it overlaps, as far as the file
    /// goes.
    pub(super) fn has_whole(&self, span: Span) -> bool {
        self.bad.iter().all(|page| {
            let page = self.page(*page);

            !page.overlaps(span) || (span.at <= page.at && page.end() <= span.end())
        })
    }

    /// Whether a range contains the whole of each bad page that it overlaps, even after the end of
    /// the file.
    pub(super) fn has_whole_pages(&self, span: Span) -> bool {
        self.bad.iter().all(|page| {
            let (at, end) = (page * PAGE, (page + 1) * PAGE);

            end <= span.at || span.end() <= at || (span.at <= at && end <= span.end())
        })
    }

    /// Whether the file can become longer: its last page is full or not bad.
    pub(super) fn can_grow(&self) -> bool {
        let size = self.data.len();

        size % PAGE == 0 || !self.bad.contains(&(size / PAGE))
    }

    /// Marks bad pages as good if they are completely in a range. The caller overwrites or frees
    /// the range.
    pub(super) fn clear_bad(&mut self, span: Span) {
        let size = self.data.len();

        self.bad.retain(|page| {
            let at = page * PAGE;

            !(span.at <= at && size.min(at + PAGE) <= span.end())
        });
    }
}
