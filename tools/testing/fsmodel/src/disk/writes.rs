// SPDX-License-Identifier: GPL-2.0

//! Changes the contents of files: writes, truncates, allocates, and copies between files.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use nix::fcntl::{self, FallocateFlags};

use crate::model::Model;
use crate::operation::{Id, Operation, Reserve, Transfer};
use crate::random;
use crate::span::{Span, PAGE};
use crate::sys;

use super::{wrong, Disk, Open, Wrong};

impl Disk {
    pub(super) fn apply_write(&mut self, model: &Model, operation: Operation) -> Result<(), Wrong> {
        let id = match operation {
            Operation::Temporary => return self.temporary(model),
            Operation::Publish(id, name) => {
                let fd = self.file(model, id)?.as_raw_fd();

                return sys::link_open(fd, &self.path(name)).map_err(wrong);
            }
            Operation::Write(id, span, fill) => {
                self.file(model, id)?
                    .write_all_at(&random::bytes(fill, span.len), span.at as u64)
                    .map_err(wrong)?;
                id
            }
            Operation::Append(id, len, fill) => {
                self.append(model, id, len, fill)?;
                id
            }
            Operation::MapWrite(id, span, fill, syncs) => {
                // If the write does not bypass the caches, the fsync() below writes it back.
                let bypasses = self.options.syncs && !syncs && fill % 2 == 0;
                let mapping = self.mapping(model, id)?;
                let bytes = random::bytes(fill, span.len);

                if bypasses && mapping.is_synchronous() {
                    mapping.write_through(span.at, &bytes);
                    return Ok(());
                }
                mapping.write(span.at, &bytes);
                if syncs {
                    return mapping.sync(span).map_err(wrong);
                }
                id
            }
            Operation::Scribble(id, fill) => {
                let at = model.files[&id].data.len();
                let len = at.next_multiple_of(PAGE) - at;

                self.mapping(model, id)?
                    .write(at, &random::bytes(fill, len));
                id
            }
            Operation::Truncate(id, size) => {
                self.file(model, id)?.set_len(size as u64).map_err(wrong)?;
                id
            }
            Operation::Reserve(kind, id, span, grows) => {
                let mode = match kind {
                    Reserve::Allocate => 0,
                    Reserve::Unshare => libc::FALLOC_FL_UNSHARE_RANGE,
                    Reserve::Zero => libc::FALLOC_FL_ZERO_RANGE,
                };

                self.allocate(model, id, span, grows, mode)?;
                id
            }
            Operation::Punch(id, span) => {
                self.allocate(model, id, span, false, libc::FALLOC_FL_PUNCH_HOLE)?;
                id
            }
            Operation::Transfer(kind, from, span, to, at) => {
                self.open(model, from)?;
                self.open(model, to)?;
                self.transfer(model, kind, (from, span), (to, at))?;
                to
            }
            _ => return Err("not an operation that writes".into()),
        };

        match self.options.syncs {
            true => self.sync(model, id),
            false => Ok(()),
        }
    }

    fn temporary(&mut self, model: &Model) -> Result<(), Wrong> {
        let file = File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_TMPFILE)
            .mode(0o644)
            .open(&self.folder)
            .map_err(wrong)?;

        self.open.insert(
            model.next(),
            Open {
                file,
                mapping: None,
            },
        );
        Ok(())
    }

    fn append(&mut self, model: &Model, id: Id, len: usize, fill: u64) -> Result<(), Wrong> {
        let fd = self.file(model, id)?.as_raw_fd();
        let path = format!("/proc/self/fd/{fd}");
        let mut file = OpenOptions::new()
            .append(true)
            .custom_flags(libc::O_SYNC)
            .open(path)
            .map_err(wrong)?;

        file.write_all(&random::bytes(fill, len)).map_err(wrong)
    }

    fn allocate(
        &mut self,
        model: &Model,
        id: Id,
        span: Span,
        grows: bool,
        mode: i32,
    ) -> Result<(), Wrong> {
        let keep = match grows {
            true => 0,
            false => libc::FALLOC_FL_KEEP_SIZE,
        };
        let mode = FallocateFlags::from_bits_retain(mode | keep);
        let fd = self.file(model, id)?.as_raw_fd();

        fcntl::fallocate(fd, mode, span.at as i64, span.len as i64).map_err(wrong)
    }

    fn transfer(
        &mut self,
        model: &Model,
        kind: Transfer,
        (from, span): (Id, Span),
        (to, at): (Id, usize),
    ) -> Result<(), Wrong> {
        let source = self.open[&from].file.as_raw_fd();
        let target = self.open[&to].file.as_raw_fd();
        let is_whole = span.at == 0 && span.len == model.files[&from].data.len() && at == 0;
        let there = Span { at, ..span };

        match kind {
            Transfer::Clone if is_whole => sys::clone(source, target).map_err(wrong),
            Transfer::Clone => sys::clone_range(source, span, target, at).map_err(wrong),
            Transfer::Copy => self.copy(from, span, to, at),
            Transfer::Dedupe => {
                let is_shared = sys::dedupe_range(source, span, target, at).map_err(wrong)?;

                check_shared(
                    is_shared,
                    &model.files[&from].data[span.at..span.end()],
                    &model.files[&to].data[at..there.end()],
                )
            }
            Transfer::Write => {
                self.mapping(model, from)?;
                copy_all(span.len, |done| {
                    let mapping = self.open[&from].mapping.as_ref().ok_or("not mapped")?;

                    mapping
                        .write_to(rest(span, done), &self.open[&to].file, at + done)
                        .map_err(wrong)
                })
            }
            Transfer::Read => {
                self.mapping(model, to)?;
                copy_all(span.len, |done| {
                    let mapping = self.open[&to].mapping.as_ref().ok_or("not mapped")?;

                    mapping
                        .read_from(rest(there, done), &self.open[&from].file, span.at + done)
                        .map_err(wrong)
                })
            }
        }
    }

    fn copy(&self, from: Id, span: Span, to: Id, at: usize) -> Result<(), Wrong> {
        let (mut from_at, mut to_at) = (span.at as i64, at as i64);

        copy_all(span.len, |done| {
            fcntl::copy_file_range(
                &self.open[&from].file,
                Some(&mut from_at),
                &self.open[&to].file,
                Some(&mut to_at),
                span.len - done,
            )
            .map_err(wrong)
        })
    }
}

/// Calls `f` until `len` bytes are copied. `f` takes the number of bytes that are copied already,
/// and returns how many more it has copied.
fn copy_all(len: usize, mut f: impl FnMut(usize) -> Result<usize, Wrong>) -> Result<(), Wrong> {
    let mut done = 0;

    while done < len {
        match f(done)? {
            0 => return Err(format!("only {done} of {len} bytes could be copied")),
            more => done += more,
        }
    }
    Ok(())
}

/// The rest of a range after its first `done` bytes.
fn rest(span: Span, done: usize) -> Span {
    Span {
        at: span.at + done,
        len: span.len - done,
    }
}

/// Checks whether a deduplication was right to share or not to share. Equal ranges with a page of
/// zeroes need not be shared, because the page can be a hole in one file and not in the other.
fn check_shared(is_shared: bool, from: &[u8], to: &[u8]) -> Result<(), Wrong> {
    let has_empty_page = || {
        from.chunks(PAGE)
            .any(|page| page.iter().all(|byte| *byte == 0))
    };

    match (is_shared, from == to) {
        (true, false) => Err("different ranges were shared".into()),
        (false, true) if !has_empty_page() => Err("equal ranges were not shared".into()),
        _ => Ok(()),
    }
}
