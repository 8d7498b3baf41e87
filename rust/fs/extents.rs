// SPDX-License-Identifier: GPL-2.0

//! The location of the contents of a file, from the filesystem.

use kernel::prelude::*;

use crate::{
    range::{
        space,
        ByteRange, //
    },
    wait::check_killed, //
};

use super::{
    blocks::MAX_PIECE,
    FileSystem,
    Inode,
    Mapping,
    Place,
    Purpose, //
};

impl<T: FileSystem> Inode<T> {
    /// Calls [`FileSystem::map()`] for the first byte of `range`, and checks the result.
    ///
    /// # Errors
    ///
    /// - `EUCLEAN` if the result is invalid.
    /// - The errors of [`FileSystem::map()`].
    pub(super) fn find(&self, range: ByteRange<space::File>, purpose: Purpose) -> Result<Mapping> {
        self.check(self.fs().map(self, range, purpose)?, range, purpose)
    }

    /// Calls [`FileSystem::begin_read()`] for the first byte of `range`, and checks the result.
    ///
    /// # Errors
    ///
    /// - `EUCLEAN` if the result is invalid.
    /// - The errors of [`FileSystem::begin_read()`].
    pub(super) fn begin_read(&self, range: ByteRange<space::File>) -> Result<Mapping> {
        self.check(self.fs().begin_read(self, range)?, range, Purpose::Read)
    }

    /// Checks a result of the filesystem.
    ///
    /// # Errors
    ///
    /// - `EUCLEAN` if the result is invalid.
    fn check(
        &self,
        mapping: Mapping,
        range: ByteRange<space::File>,
        purpose: Purpose,
    ) -> Result<Mapping> {
        match mapping.is_sound(range, purpose, self.super_block().volume()) {
            true => Ok(mapping),
            false => Err(EUCLEAN),
        }
    }

    /// Calls `f` with each piece of `range` that has one place, and with the place. Pieces other
    /// than holes are at most 16 MiB long.
    ///
    /// # Errors
    ///
    /// - `EINTR` if the process is killed.
    /// - The errors of `f` and of [`find()`](Self::find).
    pub(super) fn for_each_piece(
        &self,
        range: ByteRange<space::File>,
        mut f: impl FnMut(ByteRange<space::File>, Place) -> Result,
    ) -> Result {
        let mut rest = Some(range);

        while let Some(range) = rest {
            check_killed()?;

            let (piece, place) = self.first_piece(range)?;

            f(piece, place)?;
            rest = ByteRange::between(piece.end(), range.end());
        }
        Ok(())
    }

    /// The first piece of `range`, and its place. If it is not a hole, it is at most [`MAX_PIECE`]
    /// bytes long.
    ///
    /// # Errors
    ///
    /// - The errors of [`find()`](Self::find).
    pub(super) fn first_piece(
        &self,
        range: ByteRange<space::File>,
    ) -> Result<(ByteRange<space::File>, Place)> {
        let mapping = self.find(range, Purpose::Read)?;
        let piece = mapping.range.clip(range).ok_or(EUCLEAN)?;
        let piece = match mapping.place {
            Place::Hole => piece,
            _ => piece.pieces(MAX_PIECE).next().ok_or(EUCLEAN)?,
        };

        Ok((piece, mapping.place))
    }
}
