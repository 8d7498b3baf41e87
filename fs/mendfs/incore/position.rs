// SPDX-License-Identifier: GPL-2.0

//! Positions of names in their directory, and of attributes in their inode.

use daxmf::fs::FIRST_POSITION;
use kernel::{
    prelude::*,
    rbtree::RBTree, //
};

use crate::{
    format::Record,
    incore::view::View, //
};

/// Number of bits for the address of the record: the lower part of a position.
const ADDRESS_BITS: u32 = 32;

/// Number of bits for the hash: the upper part of a position. With 30 bits, a position is less than
/// 2^63, as it must be: the VFS stores it in a signed `loff_t`.
const HASH_BITS: u32 = 30;

/// The address of the record at a position.
pub(crate) fn address(position: u64) -> u64 {
    position.saturating_sub(FIRST_POSITION) & ((1 << ADDRESS_BITS) - 1)
}

/// Whether two positions have the same hash.
pub(crate) fn has_same_hash(position: u64, other: u64) -> bool {
    let hash = |position: u64| position.saturating_sub(FIRST_POSITION) >> ADDRESS_BITS;

    hash(position) == hash(other)
}

impl View {
    /// The least position that a name or attribute with the hash of `name` can have.
    fn first_position(&self, name: &[u8]) -> u64 {
        let hash = self.key.hash(name) >> (u64::BITS - HASH_BITS);

        (hash << ADDRESS_BITS).saturating_add(FIRST_POSITION)
    }

    /// The position of a name in its directory, or of an attribute in its inode. The position is
    /// unique there. It stays the same across mounts, because an NFS client continues to read a
    /// directory after the position of the last name that it has.
    pub(crate) fn position(&self, name: &[u8], address: u64) -> u64 {
        self.first_position(name).saturating_add(address)
    }

    /// The position of the name or attribute in the record at an address.
    pub(crate) fn position_of(&self, address: u64) -> Result<u64> {
        Ok(self.position(self.name_at(address)?, address))
    }

    /// The name of the directory entry or attribute in the record at an address.
    pub(crate) fn name_at(&self, address: u64) -> Result<&[u8]> {
        match self.table.record(address)? {
            Record::Name { name, .. } | Record::Attribute { name, .. } => Ok(name),
            _ => Err(EUCLEAN),
        }
    }

    /// Finds the position of a name in a directory, or of an attribute in an inode.
    ///
    /// It compares all names with the same hash. These are few, because users do not have the
    /// secret, and cannot construct names with the same hash.
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
