// SPDX-License-Identifier: GPL-2.0

//! Creates, renames and removes names.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use nix::fcntl::{self, RenameFlags};

use crate::operation::{Name, Operation};
use crate::random;

use super::{wrong, Disk, Wrong};

impl Disk {
    pub(super) fn apply_name(&mut self, operation: Operation) -> Option<Result<(), Wrong>> {
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

    /// Renames a file, directory or link. If the new name does not exist, uses `RENAME_NOREPLACE`,
    /// so that the load covers this flag, too.
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
}
