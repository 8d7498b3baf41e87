// SPDX-License-Identifier: GPL-2.0

//! Changes the mode and the extended attributes of files and directories.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use crate::model::file::Kind;
use crate::model::Model;
use crate::operation::Operation;
use crate::random;
use crate::state;
use crate::sys;

use super::{wrong, Disk, Wrong};

impl Disk {
    pub(super) fn apply_attribute(
        &mut self,
        model: &Model,
        operation: Operation,
    ) -> Result<(), Wrong> {
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
        // Close a directory, because an open directory continues to exist when it is removed.
        if model.files[&id].kind == Kind::Directory {
            self.open.remove(&id);
        }
        Ok(())
    }
}
