// SPDX-License-Identifier: GPL-2.0

//! Finds the places of the contents of a file.

use core::ops::Range;

use daxmf::{
    fs::{
        Mapping,
        Place,
        Purpose, //
    },
    range::{
        space,
        ByteRange, //
    },
};
use kernel::prelude::*;

use crate::{
    blocks::{
        blocks,
        bytes,
        count,
        intersection, //
    },
    format::{
        Extent,
        BLOCK_SHIFT, //
    },
    incore::{
        inode::{
            Node,
            Piece, //
        },
        view::View, //
    },
};

/// Whether the mapping that was found for `range` serves a purpose without a change.
pub(crate) fn is_sufficient(
    found: &Mapping,
    range: ByteRange<space::File>,
    purpose: Purpose,
) -> bool {
    match found.place {
        Place::Hole => matches!(purpose, Purpose::Read | Purpose::Zero),
        Place::Bad { .. } => purpose != Purpose::Rewrite,
        // A shared block is mapped by small pages only. So after a write fault of a huge page, the
        // kernel tries again with a small page.
        Place::Mapped { is_shared, .. } => {
            !is_shared || purpose != Purpose::WriteFault || range.pages().len() > 1
        }
        Place::Copied { .. } | Place::Moved { .. } => false,
    }
}

impl View {
    /// Finds the mapping of a file from the first byte of `range` on, as far as it is uniform.
    pub(crate) fn find(&self, number: u64, range: ByteRange<space::File>) -> Result<Mapping> {
        let first = blocks(range).start;
        let node = self.node(number)?;

        match node.piece_from(first) {
            Some(Piece { extent, .. }) if extent.file_block <= first => {
                self.find_place(number, node, extent.part(first..extent.file_end()))
            }
            next => {
                let end = next.map_or(Extent::MAX_FILE_BLOCK, |next| next.extent.file_block);

                Ok(Mapping {
                    range: bytes(first..end)?,
                    place: Place::Hole,
                })
            }
        }
    }

    /// Finds whether an extent is bad, shared or neither, for a run of blocks from its start on.
    /// The result is the same for all blocks of the run.
    fn find_place(&self, number: u64, node: &Node, extent: Extent) -> Result<Mapping> {
        let first = extent.file_block;
        let start = extent.block << BLOCK_SHIFT;
        let (run, is_bad) = self.bad.run(&extent.blocks());
        let (run, is_shared) = match node.shares && !is_bad {
            true => self.shared_run(run, extent.owner(number)),
            false => (run, false),
        };

        Ok(Mapping {
            range: bytes(first..first.saturating_add(count(&run)))?,
            place: match is_bad {
                true => Place::Bad { start },
                false => Place::Mapped {
                    start,
                    is_shared,
                    is_new: false,
                },
            },
        })
    }

    /// The first hole in blocks `file` of a file.
    pub(crate) fn first_hole(&self, number: u64, file: Range<u64>) -> Result<Option<Range<u64>>> {
        let node = self.node(number)?;
        let mut next = file.start;

        while next < file.end {
            match node.piece_from(next) {
                Some(Piece { extent, .. }) if extent.file_block <= next => next = extent.file_end(),
                piece => {
                    let end = piece.map_or(file.end, |piece| piece.extent.file_block);

                    return Ok(Some(next..end.min(file.end)));
                }
            }
        }
        Ok(None)
    }

    /// The first part of an extent in blocks `file` of a file that is shared and not bad.
    pub(super) fn first_shared(&self, number: u64, file: Range<u64>) -> Option<Extent> {
        let mut next = file.start;

        let node = self.node(number).ok().filter(|node| node.shares)?;

        while next < file.end {
            let piece = node.piece_from(next)?;
            let part = intersection(&piece.extent.file_blocks(), &(next..file.end));

            if part.is_empty() {
                return None;
            }

            let extent = piece.extent.part(part);
            let (run, is_bad) = self.bad.run(&extent.blocks());
            let end = extent.file_block.saturating_add(count(&run));

            if is_bad {
                next = end;
                continue;
            }

            let extent = extent.part(extent.file_block..end);
            let (run, is_shared) = self.shared_run(extent.blocks(), extent.owner(number));
            let end = extent.file_block.saturating_add(count(&run));

            if is_shared {
                return Some(extent.part(extent.file_block..end));
            }
            next = end;
        }
        None
    }
}
