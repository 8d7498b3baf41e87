// SPDX-License-Identifier: GPL-2.0

//! The bad parts of files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;

use crate::bad::{intersection, BadRanges};
use crate::sys::fiemap::{self, Extent, UNWRITTEN};
use crate::sys::page_cache::PAGE;

/// `FIEMAP_EXTENT_UNKNOWN`, `DELALLOC` and `DATA_INLINE`: the extent has no blocks of its own.
const NO_PLACE: u32 = 0x206;

/// A part of a file on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Bytes of the file.
    pub file: Range<u64>,
    /// Offset of the first one on the device, in bytes.
    pub at: u64,
    /// Whether they are written, and not only allocated.
    pub is_written: bool,
}

impl Piece {
    /// Bytes of the device.
    pub fn place(&self) -> Range<u64> {
        self.at..self.at.saturating_add(self.file.end - self.file.start)
    }
}

/// The bad pieces of a range of a file.
pub fn pieces(file: &File, range: &Range<u64>, bad: &BadRanges) -> io::Result<Vec<Piece>> {
    match fiemap::extents(file, range.clone()) {
        Ok(extents) => Ok(bad_pieces(&extents, range, bad)),
        // XFS does not have the call for directories.
        Err(error)
            if error.raw_os_error() == Some(libc::EOPNOTSUPP) && file.metadata()?.is_dir() =>
        {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

fn bad_pieces(extents: &[Extent], range: &Range<u64>, bad: &BadRanges) -> Vec<Piece> {
    let mut pieces = Vec::new();

    for extent in extents.iter().filter(|extent| extent.flags & NO_PLACE == 0) {
        let Some(part) = intersection(
            &(extent.logical..extent.logical.saturating_add(extent.length)),
            range,
        ) else {
            continue;
        };
        let at = extent.physical.saturating_add(part.start - extent.logical);
        let place = at..at.saturating_add(part.end - part.start);

        for bad in bad.within(&place) {
            let start = part.start + (bad.start - at);

            pieces.push(Piece {
                file: start..start + (bad.end - bad.start),
                at: bad.start,
                is_written: extent.flags & UNWRITTEN == 0,
            });
        }
    }
    pieces
}

/// The pieces by page number. Pieces of the same page are merged: from the first bad byte of the
/// page to the last.
pub fn by_page(pieces: &[Piece]) -> BTreeMap<u64, Piece> {
    let mut pages: BTreeMap<u64, Piece> = BTreeMap::new();

    for piece in pieces {
        let mut start = piece.file.start;

        while start < piece.file.end {
            let page = start / PAGE;
            let end = piece
                .file
                .end
                .min(page.saturating_add(1).saturating_mul(PAGE));
            let at = piece.at + (start - piece.file.start);

            pages
                .entry(page)
                .and_modify(|known| {
                    if start < known.file.start {
                        known.at = at;
                    }
                    known.file = known.file.start.min(start)..known.file.end.max(end);
                    known.is_written |= piece.is_written;
                })
                .or_insert(Piece {
                    file: start..end,
                    at,
                    is_written: piece.is_written,
                });
            start = end;
        }
    }
    pages
}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::*;

    fn bad(ranges: &[Range<u64>]) -> BadRanges {
        BadRanges {
            ranges: ranges.to_vec(),
            is_cut: false,
        }
    }

    fn extent(logical: u64, physical: u64, length: u64, flags: u32) -> Extent {
        Extent {
            logical,
            physical,
            length,
            flags,
            ..Extent::default()
        }
    }

    #[test]
    fn pieces_are_within_extents_and_the_range() {
        let extents = [
            extent(0, 40960, 8192, 0),
            extent(12288, 8192, 4096, UNWRITTEN),
            extent(16384, 0, 4096, 0x4),
        ];
        let bad = bad(&[512..1024, 8704..9216, 40960..45056, 49000..60000]);

        assert_eq!(
            bad_pieces(&extents, &(0..u64::MAX), &bad),
            [
                Piece {
                    file: 0..4096,
                    at: 40960,
                    is_written: true
                },
                Piece {
                    file: 8040..8192,
                    at: 49000,
                    is_written: true
                },
                Piece {
                    file: 12800..13312,
                    at: 8704,
                    is_written: false
                },
            ]
        );
        assert_eq!(
            bad_pieces(&extents, &(1024..2048), &bad),
            [Piece {
                file: 1024..2048,
                at: 41984,
                is_written: true
            }]
        );
        assert_eq!(bad_pieces(&extents, &(8192..12288), &bad), []);
    }

    #[test]
    fn extents_at_the_end_of_u64_do_not_overflow() {
        let extents = [extent(u64::MAX - 10, u64::MAX - 20, 100, 0)];
        let all = 0..u64::MAX;

        bad_pieces(&extents, &all, &bad(slice::from_ref(&all)));
    }

    #[test]
    fn pieces_of_a_page_are_merged() {
        let pages = by_page(&[
            Piece {
                file: 3072..5120,
                at: 100_352,
                is_written: true,
            },
            Piece {
                file: 1024..2048,
                at: 7168,
                is_written: true,
            },
        ]);

        assert_eq!(
            pages[&0],
            Piece {
                file: 1024..4096,
                at: 7168,
                is_written: true
            }
        );
        assert_eq!(
            pages[&1],
            Piece {
                file: 4096..5120,
                at: 101_376,
                is_written: true
            }
        );
        assert_eq!(pages.len(), 2);
    }
}
