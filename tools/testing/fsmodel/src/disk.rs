// SPDX-License-Identifier: GPL-2.0

//! The files in a directory, on which the operations are done.

use std::collections::btree_map::Entry;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{symlink, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use mendfs::growth::Growing;
use nix::fcntl::{self, FallocateFlags, RenameFlags};
use nix::unistd::{self, Whence};

use crate::model::file::Kind;
use crate::model::{Model, PLACES};
use crate::operation::{Id, Name, Operation, Reserve, Transfer};
use crate::random;
use crate::span::{Span, PAGE};
use crate::state;
use crate::sys::{self, Mapping};

/// An open file.
struct Open {
    file: File,
    mapping: Option<Mapping>,
}

/// How the files are used.
#[derive(Default)]
pub struct Options {
    /// Each operation is durable when it is done.
    pub syncs: bool,
    /// A file that is told which memory has failed.
    pub failed: Option<PathBuf>,
    /// The command that mounts again.
    pub remount: Option<String>,
}

/// A directory with the files.
pub struct Disk {
    folder: PathBuf,
    limit: usize,
    options: Options,
    open: BTreeMap<Id, Open>,
}

/// What is wrong.
pub type Wrong = String;

fn wrong(error: impl std::fmt::Display) -> Wrong {
    error.to_string()
}

impl Disk {
    /// For files of at most `limit` bytes.
    pub fn new(folder: &Path, limit: usize, options: Options) -> Self {
        Self {
            folder: folder.into(),
            limit,
            options,
            open: BTreeMap::new(),
        }
    }

    /// Makes what has to be there before the first operation.
    pub fn prepare(&self) -> Result<(), Wrong> {
        for place in &PLACES[1..] {
            fs::create_dir(self.folder.join(place)).map_err(wrong)?;
        }
        Ok(())
    }

    fn path(&self, name: Name) -> PathBuf {
        state::path(&self.folder, name)
    }

    /// The file, which is opened if it is not. One without a name is open.
    fn open(&mut self, model: &Model, id: Id) -> Result<&mut Open, Wrong> {
        let path = model.name_of(id).map(|name| self.path(name));

        match self.open.entry(id) {
            Entry::Occupied(open) => Ok(open.into_mut()),
            Entry::Vacant(vacant) => {
                let file = File::options()
                    .read(true)
                    .write(model.files[&id].kind == Kind::Regular)
                    .open(path.ok_or("a file without a name is closed")?)
                    .map_err(wrong)?;

                Ok(vacant.insert(Open {
                    file,
                    mapping: None,
                }))
            }
        }
    }

    fn file(&mut self, model: &Model, id: Id) -> Result<&File, Wrong> {
        Ok(&self.open(model, id)?.file)
    }

    fn mapping(&mut self, model: &Model, id: Id) -> Result<&Mapping, Wrong> {
        let limit = self.limit;
        let open = self.open(model, id)?;

        if open.mapping.is_none() {
            open.mapping = Some(Mapping::new(&open.file, limit).map_err(wrong)?);
        }
        open.mapping.as_ref().ok_or_else(|| "not mapped".into())
    }

    /// Does an operation. `model` is what the files are before it.
    pub fn apply(&mut self, model: &Model, operation: Operation) -> Result<(), Wrong> {
        match operation {
            Operation::Close(id) => {
                self.open.remove(&id);
                Ok(())
            }
            Operation::Remount => self.remount(model),
            Operation::Compare => self.compare_all(model),
            Operation::Grow => self.grow(),
            Operation::Fail(id, page) => self.fail(model, id, page),
            Operation::Mode(..) | Operation::SetAttribute(..) | Operation::RemoveAttribute(..) => {
                self.apply_attribute(model, operation)
            }
            _ => {
                self.hold(model, operation)?;
                self.apply_name(operation)
                    .or_else(|| self.apply_read(model, operation))
                    .unwrap_or_else(|| self.apply_write(model, operation))
            }
        }
    }

    /// Opens the file that is about to lose its name, so that it can be used without one.
    fn hold(&mut self, model: &Model, operation: Operation) -> Result<(), Wrong> {
        if let Operation::Rename(_, name) | Operation::Unlink(name) = operation {
            if let Some(id) = model.names[name] {
                if model.files[&id].kind == Kind::Regular {
                    self.open(model, id)?;
                }
            }
        }
        Ok(())
    }

    // Names and attributes
    // ---------------------------------------------------------------------------------------------

    fn apply_name(&mut self, operation: Operation) -> Option<Result<(), Wrong>> {
        Some(match operation {
            Operation::Create(name) => File::create_new(self.path(name)).map(drop).map_err(wrong),
            Operation::MakeDirectory(name) => fs::create_dir(self.path(name)).map_err(wrong),
            Operation::MakeLink(name, len, fill) => {
                let target = random::letters(fill, len);

                symlink(OsStr::from_bytes(&target), self.path(name)).map_err(wrong)
            }
            Operation::Rename(from, to) => self.rename(from, to),
            Operation::Exchange(from, to) => {
                self.rename_with(from, to, RenameFlags::RENAME_EXCHANGE)
            }
            Operation::Link(from, to) => {
                fs::hard_link(self.path(from), self.path(to)).map_err(wrong)
            }
            Operation::Unlink(name) => self.unlink(name),
            _ => return None,
        })
    }

    /// Renames what must not replace anything first, if that is possible.
    fn rename(&self, from: Name, to: Name) -> Result<(), Wrong> {
        match self.path(to).symlink_metadata() {
            Ok(_) => fs::rename(self.path(from), self.path(to)).map_err(wrong),
            Err(_) => self.rename_with(from, to, RenameFlags::RENAME_NOREPLACE),
        }
    }

    fn rename_with(&self, from: Name, to: Name, flags: RenameFlags) -> Result<(), Wrong> {
        fcntl::renameat2(None, &self.path(from), None, &self.path(to), flags).map_err(wrong)
    }

    fn unlink(&self, name: Name) -> Result<(), Wrong> {
        let path = self.path(name);

        match path.symlink_metadata().map_err(wrong)?.is_dir() {
            true => fs::remove_dir(path),
            false => fs::remove_file(path),
        }
        .map_err(wrong)
    }

    fn apply_attribute(&mut self, model: &Model, operation: Operation) -> Result<(), Wrong> {
        let (Operation::Mode(id, _)
        | Operation::SetAttribute(id, ..)
        | Operation::RemoveAttribute(id, _)) = operation
        else {
            return Err("not an operation on attributes".into());
        };
        let file = self.file(model, id)?;

        match operation {
            Operation::Mode(_, mode) => file.set_permissions(Permissions::from_mode(mode)),
            Operation::SetAttribute(_, attribute, len, fill) => sys::set_attribute(
                file,
                &state::attribute(attribute),
                &random::bytes(fill, len),
            ),
            Operation::RemoveAttribute(_, attribute) => {
                sys::remove_attribute(file, &state::attribute(attribute))
            }
            _ => Ok(()),
        }
        .map_err(wrong)?;
        // A directory that is open would stay when it is removed.
        if model.files[&id].kind == Kind::Directory {
            self.open.remove(&id);
        }
        Ok(())
    }

    // Contents
    // ---------------------------------------------------------------------------------------------

    fn apply_read(&mut self, model: &Model, operation: Operation) -> Option<Result<(), Wrong>> {
        Some(match operation {
            Operation::Read(id, span) => self.compare(model, id, span),
            Operation::MapRead(id, span) => self.compare_mapped(model, id, span),
            Operation::Seek(id) => self.seek(model, id),
            Operation::Sync(id) => self.sync(model, id),
            _ => return None,
        })
    }

    fn grow(&self) -> Result<(), Wrong> {
        let growing = Growing::open(&self.folder).map_err(|e| e.to_string())?;
        let geometry = growing.geometry();
        let blocks = geometry.blocks() + geometry.copy_blocks();

        if blocks <= growing.of_device() {
            growing.grow(Some(blocks)).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    fn sync(&mut self, model: &Model, id: Id) -> Result<(), Wrong> {
        self.file(model, id)?.sync_all().map_err(wrong)
    }

    fn apply_write(&mut self, model: &Model, operation: Operation) -> Result<(), Wrong> {
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
                // Otherwise fsync() writes it back.
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
                all(span.len, |done| {
                    let mapping = self.open[&from].mapping.as_ref().ok_or("not mapped")?;

                    mapping
                        .write_to(rest(span, done), &self.open[&to].file, at + done)
                        .map_err(wrong)
                })
            }
            Transfer::Read => {
                self.mapping(model, to)?;
                all(span.len, |done| {
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

        all(span.len, |done| {
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

    /// The memory of a page fails.
    fn fail(&mut self, model: &Model, id: Id, page: usize) -> Result<(), Wrong> {
        let address = self.mapping(model, id)?.fail(page * PAGE).map_err(wrong)?;

        match &self.options.failed {
            Some(path) => File::options()
                .append(true)
                .create(true)
                .open(path)
                .and_then(|mut file| file.write_all(format!("{address}\n").as_bytes()))
                .map_err(wrong),
            None => Ok(()),
        }
    }

    /// Compares a part of a file.
    fn compare(&mut self, model: &Model, id: Id, span: Span) -> Result<(), Wrong> {
        let mut bytes = vec![0; span.len];
        let may_fail = !model.files[&id].is_sound(span);
        let len = match read_at(self.file(model, id)?, &mut bytes, span.at) {
            Err(error) if may_fail && is_failure(&error) => return Ok(()),
            len => len.map_err(wrong)?,
        };

        difference(expected(model, id, span), &bytes[..len], span.at)
    }

    /// Compares a part of a file, through its mapping.
    fn compare_mapped(&mut self, model: &Model, id: Id, span: Span) -> Result<(), Wrong> {
        let found = self.mapping(model, id)?.read(span);

        difference(expected(model, id, span), &found, span.at)
    }

    /// Checks where the kernel says that a file has data, and where it has none.
    fn seek(&mut self, model: &Model, id: Id) -> Result<(), Wrong> {
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
                    "from {at:#x} on there is data from {start:#x} to {end:#x}"
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
            Some(start) => Err(format!("there is data behind the end, at {start:#x}")),
        }
    }

    // All
    // ---------------------------------------------------------------------------------------------

    fn remount(&mut self, model: &Model) -> Result<(), Wrong> {
        self.open.clear();

        let Some(command) = &self.options.remount else {
            return Ok(());
        };
        let output = Command::new("bash")
            .args(["-c", command])
            .current_dir("/")
            .output()
            .map_err(wrong)?;

        if !output.status.success() {
            return Err(format!(
                "'{command}' has failed: {}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ));
        }
        self.compare_all(model)
    }

    fn compare_all(&mut self, model: &Model) -> Result<(), Wrong> {
        for (id, file) in &model.files {
            let is_there = file.links > 0 || self.open.contains_key(id);

            if is_there && file.kind == Kind::Regular {
                self.seek(model, *id)
                    .map_err(|wrong| format!("file {id}: {wrong}"))?;
                state::compare_file(self.file(model, *id)?, file, file)
                    .map_err(|wrong| format!("file {id}: {wrong}"))?;
            }
        }
        state::compare(&self.folder, model, model)
    }
}

/// Calls `f` with how much is done, which returns how much more is, until all is.
fn all(len: usize, mut f: impl FnMut(usize) -> Result<usize, Wrong>) -> Result<(), Wrong> {
    let mut done = 0;

    while done < len {
        match f(done)? {
            0 => return Err(format!("only {done} of {len} bytes could be copied")),
            more => done += more,
        }
    }
    Ok(())
}

/// What is left of a range when some of it is done.
fn rest(span: Span, done: usize) -> Span {
    Span {
        at: span.at + done,
        len: span.len - done,
    }
}

/// What must be there from the start of `span` on.
fn expected(model: &Model, id: Id, span: Span) -> &[u8] {
    let data = &model.files[&id].data;
    let end = span.end().min(data.len());

    &data[span.at.min(end)..end]
}

/// A page that is a hole is different from one of zeroes, so that one is never shared.
fn check_shared(is_shared: bool, from: &[u8], to: &[u8]) -> Result<(), Wrong> {
    let has_empty_page = || {
        from.chunks(PAGE)
            .any(|page| page.iter().all(|byte| *byte == 0))
    };

    match (is_shared, from == to) {
        (true, false) => Err("what is not the same was shared".into()),
        (false, true) if !has_empty_page() => Err("what is the same was not shared".into()),
        _ => Ok(()),
    }
}

/// Where there is data, or a hole, from a place on; none behind the last data.
fn find(fd: i32, at: usize, whence: Whence) -> Result<Option<usize>, Wrong> {
    match unistd::lseek(fd, at as i64, whence) {
        Ok(found) => Ok(Some(found as usize)),
        Err(nix::Error::ENXIO) => Ok(None),
        Err(error) => Err(wrong(error)),
    }
}

/// Whether this is what reading memory fails with that is lost.
pub fn is_failure(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EIO)
}

/// Reads until the end.
pub fn read_at(file: &File, bytes: &mut [u8], at: usize) -> io::Result<usize> {
    let mut done = 0;

    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], (at + done) as u64)? {
            0 => break,
            len => done += len,
        }
    }
    Ok(done)
}

/// What is not as expected, from offset `at` of the file on.
fn difference(expected: &[u8], found: &[u8], at: usize) -> Result<(), Wrong> {
    if expected == found {
        return Ok(());
    }
    if expected.len() != found.len() {
        return Err(format!("{} bytes, not {}", found.len(), expected.len()));
    }

    let differ: Vec<_> = (0..found.len())
        .filter(|i| expected[*i] != found[*i])
        .collect();
    let (first, last) = (differ[0], differ[differ.len() - 1]);

    Err(format!(
        "{} bytes differ from {:#x} to {:#x}, the first is {:#04x}, not {:#04x}",
        differ.len(),
        at + first,
        at + last,
        found[first],
        expected[first]
    ))
}
