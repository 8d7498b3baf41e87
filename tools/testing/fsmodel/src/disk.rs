// SPDX-License-Identifier: GPL-2.0

//! Runs operations on the files of a directory.

mod attributes;
mod names;
mod reads;
mod writes;

use std::collections::btree_map::Entry;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use mendfs::growth::MountedFs;

use crate::contents;
use crate::model::file::Kind;
use crate::model::{Model, PLACES};
use crate::operation::{Id, Name, Operation};
use crate::span::PAGE;
use crate::state;
use crate::sys::Mapping;

/// An open file and its mapping, if there is one.
struct Open {
    file: File,
    mapping: Option<Mapping>,
}

/// The options of a run.
#[derive(Default)]
pub struct Options {
    /// Whether each operation is made durable before the next one.
    pub syncs: bool,
    /// The file to append the physical address of each failed page to.
    pub failed: Option<PathBuf>,
    /// The command that remounts the filesystem.
    pub remount: Option<String>,
}

/// A directory, and the open files in it.
pub struct Disk {
    folder: PathBuf,
    limit: usize,
    options: Options,
    open: BTreeMap<Id, Open>,
}

/// A message that says what is wrong.
pub type Wrong = String;

fn wrong(error: impl std::fmt::Display) -> Wrong {
    error.to_string()
}

impl Disk {
    /// Uses the directory `folder` for files of at most `limit` bytes.
    pub fn new(folder: &Path, limit: usize, options: Options) -> Self {
        Self {
            folder: folder.into(),
            limit,
            options,
            open: BTreeMap::new(),
        }
    }

    /// Creates the subdirectories that the operations use.
    pub fn prepare(&self) -> Result<(), Wrong> {
        for place in &PLACES[1..] {
            fs::create_dir(self.folder.join(place)).map_err(wrong)?;
        }
        Ok(())
    }

    fn path(&self, name: Name) -> PathBuf {
        state::path(&self.folder, name)
    }

    /// Returns an open file, and opens it if necessary. A file without a name must be open already.
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

    /// Runs an operation. `model` describes the files before it.
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
                self.open_before_removal(model, operation)?;
                self.apply_name(operation)
                    .or_else(|| self.apply_read(model, operation))
                    .unwrap_or_else(|| self.apply_write(model, operation))
            }
        }
    }

    /// Opens the file whose name the operation removes, so that later operations can use the file.
    fn open_before_removal(&mut self, model: &Model, operation: Operation) -> Result<(), Wrong> {
        if let Operation::Rename(_, name) | Operation::Unlink(name) = operation {
            if let Some(id) = model.names[name] {
                if model.files[&id].kind == Kind::Regular {
                    self.open(model, id)?;
                }
            }
        }
        Ok(())
    }

    fn sync(&mut self, model: &Model, id: Id) -> Result<(), Wrong> {
        self.file(model, id)?.sync_all().map_err(wrong)
    }

    fn grow(&self) -> Result<(), Wrong> {
        let mounted = MountedFs::open(&self.folder).map_err(|e| e.to_string())?;
        let geometry = mounted.geometry();
        let blocks = geometry.blocks() + geometry.copy_blocks();

        if blocks <= mounted.device_blocks() {
            mounted.grow(Some(blocks)).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// Makes the memory of a page fail.
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
                "'{command}' failed: {}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ));
        }
        self.compare_all(model)
    }

    fn compare_all(&mut self, model: &Model) -> Result<(), Wrong> {
        for (id, file) in &model.files {
            let exists = file.links > 0 || self.open.contains_key(id);

            if exists && file.kind == Kind::Regular {
                self.seek(model, *id)
                    .map_err(|wrong| format!("file {id}: {wrong}"))?;
                contents::compare_file(self.file(model, *id)?, file, file)
                    .map_err(|wrong| format!("file {id}: {wrong}"))?;
            }
        }
        state::compare(&self.folder, model, model)
    }
}
