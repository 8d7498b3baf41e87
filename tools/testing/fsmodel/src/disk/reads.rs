// SPDX-License-Identifier: GPL-2.0

//! Reads files, and compares their contents and their holes with the model.

use std::os::fd::AsRawFd;

use nix::unistd::{self, Whence};

use crate::contents::{self, is_failure, read_at};
use crate::model::Model;
use crate::operation::{Id, Operation};
use crate::span::Span;

use super::{wrong, Disk, Wrong};

impl Disk {
    pub(super) fn apply_read(
        &mut self,
        model: &Model,
        operation: Operation,
    ) -> Option<Result<(), Wrong>> {
        Some(match operation {
            Operation::Read(id, span) => self.compare(model, id, span),
            Operation::MapRead(id, span) => self.compare_mapped(model, id, span),
            Operation::Seek(id) => self.seek(model, id),
            Operation::Sync(id) => self.sync(model, id),
            _ => return None,
        })
    }

    /// Compares a part of a file.
    fn compare(&mut self, model: &Model, id: Id, span: Span) -> Result<(), Wrong> {
        let mut bytes = vec![0; span.len];
        let can_fail = !model.files[&id].is_good(span);
        let len = match read_at(self.file(model, id)?, &mut bytes, span.at) {
            Err(error) if can_fail && is_failure(&error) => return Ok(()),
            len => len.map_err(wrong)?,
        };

        contents::compare(expected(model, id, span), &bytes[..len], span.at)
    }

    /// Compares a part of a file, through its mapping.
    fn compare_mapped(&mut self, model: &Model, id: Id, span: Span) -> Result<(), Wrong> {
        let found = self.mapping(model, id)?.read(span);

        contents::compare(expected(model, id, span), &found, span.at)
    }

    /// Checks the data and the holes of a file that `lseek()` returns.
    pub(super) fn seek(&mut self, model: &Model, id: Id) -> Result<(), Wrong> {
        let data = &model.files[&id].data;
        let fd = self.file(model, id)?.as_raw_fd();
        let mut at = 0;

        while at < data.len() {
            let start = find(fd, at, Whence::SeekData)?.unwrap_or(data.len());
            let end = match start < data.len() {
                true => find(fd, start, Whence::SeekHole)?.ok_or("there is no hole at the end")?,
                false => start,
            };

            if start < at || end < start || end > data.len() || (end == start && end < data.len()) {
                return Err(format!(
                    "lseek() from {at:#x} returns data from {start:#x} to {end:#x}"
                ));
            }
            if let Some(byte) = data[at..start].iter().position(|byte| *byte != 0) {
                return Err(format!(
                    "the hole from {at:#x} to {start:#x} has data at {byte:#x}"
                ));
            }
            at = end;
        }
        match find(fd, at, Whence::SeekData)? {
            None => Ok(()),
            Some(start) => Err(format!("there is data after the end, at {start:#x}")),
        }
    }
}

/// The expected contents of `span`, as far as the file goes.
fn expected(model: &Model, id: Id, span: Span) -> &[u8] {
    let data = &model.files[&id].data;
    let end = span.end().min(data.len());

    &data[span.at.min(end)..end]
}

/// Finds the first data or hole at `at` or later. Returns [`None`] if there is no more data.
fn find(fd: i32, at: usize, whence: Whence) -> Result<Option<usize>, Wrong> {
    match unistd::lseek(fd, at as i64, whence) {
        Ok(found) => Ok(Some(found as usize)),
        Err(nix::Error::ENXIO) => Ok(None),
        Err(error) => Err(wrong(error)),
    }
}
