// SPDX-License-Identifier: GPL-2.0

//! What a file must be: its contents and attributes, and which of its pages are lost.

use std::collections::{BTreeMap, BTreeSet};

use crate::operation::Attribute;
use crate::span::{inside, Span, PAGE};

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

    /// A page, as far as the file goes.
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

    /// Whether nothing of a range is lost.
    pub fn is_sound(&self, span: Span) -> bool {
        !self.lost.iter().any(|page| self.page(*page).overlaps(span))
    }

    /// Whether each page of a range that is lost lies in it as a whole, as far as the file goes.
    pub(super) fn has_whole(&self, span: Span) -> bool {
        self.lost.iter().all(|page| {
            let page = self.page(*page);

            !page.overlaps(span) || (span.at <= page.at && page.end() <= span.end())
        })
    }

    /// Whether each page of a range that is lost lies in it, also behind the end of the file.
    pub(super) fn has_whole_pages(&self, span: Span) -> bool {
        self.lost.iter().all(|page| {
            let (at, end) = (page * PAGE, (page + 1) * PAGE);

            end <= span.at || span.end() <= at || (span.at <= at && end <= span.end())
        })
    }

    /// Whether the last page can be made longer.
    pub(super) fn can_grow(&self) -> bool {
        let size = self.data.len();

        size % PAGE == 0 || !self.lost.contains(&(size / PAGE))
    }

    /// What is in a range is new, or goes.
    pub(super) fn forget_lost(&mut self, span: Span) {
        let size = self.data.len();

        self.lost.retain(|page| {
            let at = page * PAGE;

            !(span.at <= at && size.min(at + PAGE) <= span.end())
        });
    }
}
