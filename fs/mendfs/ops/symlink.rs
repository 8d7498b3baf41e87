// SPDX-License-Identifier: GPL-2.0

//! Targets of symbolic links.

use kernel::prelude::*;

use crate::{
    format::Record,
    incore::view::View, //
};

impl View {
    pub(crate) fn target(&self, number: u64) -> Result<KVec<u8>> {
        let address = self.node(number)?.target.ok_or(EINVAL)?;

        match self.table.record(address)? {
            Record::Target(target) => to_vec(target),
            _ => Err(EUCLEAN),
        }
    }
}

pub(super) fn check_target(target: &[u8]) -> Result<&[u8]> {
    match target.len() <= Record::MAX_TEXT {
        true => Ok(target),
        false => Err(ENAMETOOLONG),
    }
}

pub(super) fn to_vec(bytes: &[u8]) -> Result<KVec<u8>> {
    let mut copy = KVec::new();

    copy.extend_from_slice(bytes, GFP_KERNEL)?;
    Ok(copy)
}
