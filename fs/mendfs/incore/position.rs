// SPDX-License-Identifier: GPL-2.0

//! Where a name is in its directory, and an attribute in its inode.

use daxmf::fs::FIRST_POSITION;
use kernel::{
    prelude::*,
    rbtree::RBTree, //
};

use crate::{
    format::Record,
    incore::view::View, //
};

/// Bits of an address of a record, which is in the lower part of a position.
const ADDRESS_BITS: u32 = 32;

/// Bits of a hash, which is in the upper part. A position is a positive number in C.
const HASH_BITS: u32 = 30;

/// The address of the record that has a position.
pub(crate) fn address(position: u64) -> u64 {
    position.saturating_sub(FIRST_POSITION) & ((1 << ADDRESS_BITS) - 1)
}

/// Whether what has these positions has the same hash.
pub(crate) fn has_same_hash(position: u64, other: u64) -> bool {
    let hash = |position: u64| position.saturating_sub(FIRST_POSITION) >> ADDRESS_BITS;

    hash(position) == hash(other)
}

impl View {
    /// The position of the first name, or attribute, with the hash of `name`.
    fn first_position(&self, name: &[u8]) -> u64 {
        let hash = self.key.hash(name) >> (u64::BITS - HASH_BITS);

        (hash << ADDRESS_BITS).saturating_add(FIRST_POSITION)
    }

    /// The position of a name in its directory, or of an attribute of its inode. It is that of no
    /// other, and does not change, not even when the filesystem is mounted again: an NFS client
    /// goes on reading a directory behind it.
    pub(crate) fn position(&self, name: &[u8], address: u64) -> u64 {
        self.first_position(name).saturating_add(address)
    }

    /// The same for the record at an address.
    pub(crate) fn position_of(&self, address: u64) -> Result<u64> {
        Ok(self.position(self.name_at(address)?, address))
    }

    /// The name in the record at an address.
    pub(crate) fn name_at(&self, address: u64) -> Result<&[u8]> {
        match self.table.record(address)? {
            Record::Name { name, .. } | Record::Attribute { name, .. } => Ok(name),
            _ => Err(EUCLEAN),
        }
    }

    /// Finds the position of a name among those of a directory, or of the attributes of an inode.
    ///
    /// Those with the same hash are compared. They are few: nobody knows what has the same hash.
    pub(crate) fn find_in<V>(&self, names: &RBTree<u64, V>, name: &[u8]) -> Result<Option<u64>> {
        let first = self.first_position(name);
        let mut next = first;

        while let Some(cursor) = names.cursor_lower_bound(&next) {
            let (position, _) = cursor.current();

            if !has_same_hash(*position, first) {
                break;
            }
            if self.name_at(address(*position))? == name {
                return Ok(Some(*position));
            }
            next = position.saturating_add(1);
        }
        Ok(None)
    }
}
