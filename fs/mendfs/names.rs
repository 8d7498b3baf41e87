// SPDX-License-Identifier: GPL-2.0

//! Names: directories, links, symbolic links, extended attributes.

use daxmf::{
    crc32c::crc32c,
    fs::{
        Attributes,
        Entry,
        Label,
        Time,
        FIRST_POSITION, //
    },
};
use kernel::{
    prelude::*,
    rbtree::RBTreeNode, //
};

use crate::{
    format::{
        Inode,
        Record, //
    },
    inodes::{
        from_vfs,
        inode_from,
        Name,
        Node, //
    },
    state::State,
};

/// Bits of an address of a record.
const ADDRESS_BITS: u32 = 32;

/// The position of the first name with the hash of `name`.
fn first_position(name: &[u8]) -> u64 {
    // Two bits less than there are, so that it is a positive number in C.
    let hash = u64::from(crc32c(name) >> 2);

    (hash << ADDRESS_BITS).saturating_add(FIRST_POSITION)
}

/// The position of a name in its directory. It is that of no other name, and does not change.
pub(crate) fn position(name: &[u8], address: u64) -> u64 {
    first_position(name).saturating_add(address)
}

/// Where a directory goes: what a rename changes.
pub(crate) struct Move<'a> {
    pub(crate) from: u64,
    pub(crate) name: &'a [u8],
    pub(crate) inode: u64,
    pub(crate) to: u64,
    pub(crate) new_name: &'a [u8],
    pub(crate) replaced: Option<u64>,
    pub(crate) now: Time,
}

impl State {
    /// Finds a name and its position.
    pub(crate) fn find_name(&self, directory: u64, name: &[u8]) -> Result<Option<(u64, Name)>> {
        let first = first_position(name);
        let last = first.saturating_add(1 << ADDRESS_BITS);
        let names = &self.node(directory)?.names;
        let mut next = first;

        while let Some(cursor) = names.cursor_lower_bound(&next) {
            let (position, entry) = cursor.current();

            if *position >= last {
                break;
            }
            match self.metadata.record(entry.address)? {
                Record::Name { name: found, .. } if found == name => {
                    return Ok(Some((*position, *entry)));
                }
                _ => next = position.saturating_add(1),
            }
        }
        Ok(None)
    }

    fn name(&self, directory: u64, name: &[u8]) -> Result<(u64, Name)> {
        self.find_name(directory, name)?.ok_or(ENOENT)
    }

    pub(crate) fn read_directory(
        &self,
        directory: u64,
        position: u64,
        emit: &mut dyn FnMut(Entry<'_>) -> bool,
    ) -> Result {
        let names = &self.node(directory)?.names;
        let mut next = position;

        while let Some(cursor) = names.cursor_lower_bound(&next) {
            let (position, entry) = cursor.current();

            next = position.saturating_add(1);

            if let Record::Name { name, .. } = self.metadata.record(entry.address)? {
                let goes_on = emit(Entry {
                    name,
                    number: entry.target,
                    mode: entry.kind,
                    next,
                });

                if !goes_on {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Says that the names of a directory change.
    fn touch(&mut self, directory: u64, now: Time) -> Result {
        self.edit(directory, |inode| {
            inode.modified = from_vfs(now);
            inode.changed = from_vfs(now);
        })
    }

    /// Plans a name, for which memory is allocated.
    fn add_name(
        &mut self,
        directory: u64,
        name: &[u8],
        target: u64,
        kind: u32,
    ) -> Result<RBTreeNode<u64, Name>> {
        let record = Record::Name { target, kind, name };
        let address = self.metadata.add(directory, &record)?;
        let entry = Name {
            address,
            target,
            kind,
        };

        RBTreeNode::new(position(name, address), entry, GFP_KERNEL)
    }

    fn insert_name(&mut self, directory: u64, name: RBTreeNode<u64, Name>) {
        if let Ok(node) = self.node_mut(directory) {
            node.names.insert(name);
        }
    }

    fn remove_name(&mut self, directory: u64, position: u64) {
        if let Ok(node) = self.node_mut(directory) {
            node.names.remove(&position);
        }
    }

    /// Points a name of a directory to another inode.
    fn point_name(&mut self, directory: u64, position: u64, target: u64, kind: u32) {
        if let Ok(node) = self.node_mut(directory) {
            if let Some(name) = node.names.get_mut(&position) {
                name.target = target;
                name.kind = kind;
            }
        }
    }

    /// Plans the same for its record.
    fn replace_name(
        &mut self,
        directory: u64,
        found: &Name,
        name: &[u8],
        target: u64,
        kind: u32,
    ) -> Result {
        let record = Record::Name { target, kind, name };

        self.metadata.replace(found.address, directory, &record)
    }

    pub(crate) fn create(
        &mut self,
        place: Option<(u64, &[u8])>,
        attributes: &Attributes,
        target: Option<&[u8]>,
        labels: &[Label],
    ) -> Result<u64> {
        self.begin()?;

        let target = target.map(check_target).transpose()?;
        let inode = self.new_inode(place.map(|(directory, _)| directory), attributes, target);
        let number = self.metadata.add_inode(&Record::Inode(inode))?;
        let mut node = Node::new(inode);

        if let Some(target) = target {
            node.target = Some(self.metadata.add(number, &Record::Target(target))?);
        }
        node.attributes = self.plan_labels(number, labels)?;

        let node = RBTreeNode::new(number, node, GFP_KERNEL)?;
        let name = match place {
            Some((directory, name)) => {
                self.touch(directory, attributes.changed)?;
                if inode.is_directory() {
                    self.edit(directory, |parent| {
                        parent.links = parent.links.saturating_add(1);
                    })?;
                }
                Some((
                    directory,
                    self.add_name(directory, name, number, inode.kind())?,
                ))
            }
            None => None,
        };

        self.commit()?;
        self.inodes.insert(node);
        if let Some((directory, name)) = name {
            self.insert_name(directory, name);
        }
        Ok(number)
    }

    fn new_inode(
        &self,
        directory: Option<u64>,
        attributes: &Attributes,
        target: Option<&[u8]>,
    ) -> Inode {
        let inode = inode_from(attributes);

        Inode {
            links: match directory {
                Some(_) if inode.is_directory() => 2,
                Some(_) => 1,
                None => 0,
            },
            parent: match directory {
                Some(directory) if inode.is_directory() => directory,
                _ => 0,
            },
            size: target.map_or(0, |target| target.len() as u64),
            // CAST: It only has to differ from the one before.
            generation: self.metadata.sequence() as u32,
            ..inode
        }
    }

    pub(crate) fn link(&mut self, number: u64, directory: u64, name: &[u8], now: Time) -> Result {
        self.begin()?;

        let inode = self.node(number)?.inode;
        let links = inode.links.checked_add(1).ok_or(EMLINK)?;

        self.edit(number, |inode| {
            inode.links = links;
            inode.changed = from_vfs(now);
        })?;
        self.touch(directory, now)?;
        let name = self.add_name(directory, name, number, inode.kind())?;

        self.commit()?;
        self.insert_name(directory, name);
        Ok(())
    }

    /// Plans that an inode loses a name in `directory`.
    fn drop_link(&mut self, directory: u64, number: u64, now: Time) -> Result {
        let node = self.node(number)?;
        let is_directory = node.inode.is_directory();

        if is_directory && !node.names.is_empty() {
            return Err(ENOTEMPTY);
        }

        self.edit(number, |inode| {
            inode.links = match is_directory {
                true => 0,
                false => inode.links.saturating_sub(1),
            };
            inode.changed = from_vfs(now);
        })?;
        if is_directory {
            self.edit(directory, |parent| {
                parent.links = parent.links.saturating_sub(1);
            })?;
        }
        Ok(())
    }

    pub(crate) fn unlink(&mut self, directory: u64, name: &[u8], number: u64, now: Time) -> Result {
        self.begin()?;

        let (position, found) = self.name(directory, name)?;

        self.metadata.remove(found.address)?;
        self.touch(directory, now)?;
        self.drop_link(directory, number, now)?;

        self.commit()?;
        self.remove_name(directory, position);
        Ok(())
    }

    /// Plans that an inode comes from one directory to another.
    fn move_inode(&mut self, number: u64, from: u64, to: u64, now: Time) -> Result {
        let is_directory = self.node(number)?.inode.is_directory();

        self.edit(number, |inode| {
            inode.changed = from_vfs(now);
            if is_directory {
                inode.parent = to;
            }
        })?;
        if is_directory && from != to {
            self.edit(from, |inode| inode.links = inode.links.saturating_sub(1))?;
            self.edit(to, |inode| inode.links = inode.links.saturating_add(1))?;
        }
        Ok(())
    }

    pub(crate) fn rename(&mut self, it: &Move<'_>) -> Result {
        self.begin()?;

        let kind = self.node(it.inode)?.inode.kind();
        let (position, old) = self.name(it.from, it.name)?;
        let replaced = match it.replaced {
            Some(number) => Some((number, self.name(it.to, it.new_name)?)),
            None => None,
        };

        self.metadata.remove(old.address)?;
        self.touch(it.from, it.now)?;
        self.touch(it.to, it.now)?;
        self.move_inode(it.inode, it.from, it.to, it.now)?;

        let Some((number, (new_position, new))) = replaced else {
            let name = self.add_name(it.to, it.new_name, it.inode, kind)?;

            self.commit()?;
            self.remove_name(it.from, position);
            self.insert_name(it.to, name);
            return Ok(());
        };

        self.replace_name(it.to, &new, it.new_name, it.inode, kind)?;
        self.drop_link(it.to, number, it.now)?;

        self.commit()?;
        self.remove_name(it.from, position);
        self.point_name(it.to, new_position, it.inode, kind);
        Ok(())
    }

    /// Exchanges two names.
    pub(crate) fn exchange(&mut self, it: &Move<'_>, other: u64) -> Result {
        self.begin()?;

        let kind = self.node(it.inode)?.inode.kind();
        let other_kind = self.node(other)?.inode.kind();
        let (position, old) = self.name(it.from, it.name)?;
        let (new_position, new) = self.name(it.to, it.new_name)?;

        self.replace_name(it.from, &old, it.name, other, other_kind)?;
        self.replace_name(it.to, &new, it.new_name, it.inode, kind)?;
        self.touch(it.from, it.now)?;
        self.touch(it.to, it.now)?;
        self.move_inode(it.inode, it.from, it.to, it.now)?;
        self.move_inode(other, it.to, it.from, it.now)?;

        self.commit()?;
        self.point_name(it.from, position, other, other_kind);
        self.point_name(it.to, new_position, it.inode, kind);
        Ok(())
    }

    pub(crate) fn target(&self, number: u64) -> Result<KVec<u8>> {
        let address = self.node(number)?.target.ok_or(EINVAL)?;

        match self.metadata.record(address)? {
            Record::Target(target) => copy(target),
            _ => Err(EUCLEAN),
        }
    }

    /// Finds an extended attribute: its index in the node, and its address.
    pub(crate) fn find_attribute(&self, number: u64, name: &[u8]) -> Result<Option<(usize, u64)>> {
        for (index, address) in self.node(number)?.attributes.iter().enumerate() {
            match self.metadata.record(*address)? {
                Record::Attribute { name: found, .. } if found == name => {
                    return Ok(Some((index, *address)));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    pub(crate) fn attribute(&self, number: u64, name: &[u8]) -> Result<KVec<u8>> {
        let (_, address) = self.find_attribute(number, name)?.ok_or(ENODATA)?;

        match self.metadata.record(address)? {
            Record::Attribute { value, .. } => copy(value),
            _ => Err(EUCLEAN),
        }
    }

    pub(crate) fn attributes(&self, number: u64, emit: &mut dyn FnMut(&[u8]) -> Result) -> Result {
        for address in &self.node(number)?.attributes {
            if let Record::Attribute { name, .. } = self.metadata.record(*address)? {
                emit(name)?;
            }
        }
        Ok(())
    }

    pub(crate) fn set_attribute(
        &mut self,
        number: u64,
        name: &[u8],
        value: Option<&[u8]>,
        is_there: Option<bool>,
        now: Time,
    ) -> Result {
        self.begin()?;

        let found = self.find_attribute(number, name)?;

        match (is_there, found) {
            (Some(true), None) => return Err(ENODATA),
            (Some(false), Some(_)) => return Err(EEXIST),
            _ => {}
        }
        if value.is_none() && found.is_none() {
            return Err(ENODATA);
        }

        let added = match value {
            Some(value) if name.len().saturating_add(value.len()) > Record::MAX_TEXT => {
                return Err(ENOSPC);
            }
            Some(value) => Some(
                self.metadata
                    .add(number, &Record::Attribute { name, value })?,
            ),
            None => None,
        };
        if let Some((_, address)) = found {
            self.metadata.remove(address)?;
        }
        self.node_mut(number)?.attributes.reserve(1, GFP_KERNEL)?;
        self.edit(number, |inode| inode.changed = from_vfs(now))?;

        self.commit()?;
        let attributes = &mut self.node_mut(number)?.attributes;

        if let Some((index, _)) = found {
            let _ = attributes.remove(index);
        }
        if let Some(address) = added {
            // There is room: it was reserved.
            let _ = attributes.push_within_capacity(address);
        }
        Ok(())
    }
}

fn check_target(target: &[u8]) -> Result<&[u8]> {
    match target.len() <= Record::MAX_TEXT {
        true => Ok(target),
        false => Err(ENAMETOOLONG),
    }
}

fn copy(bytes: &[u8]) -> Result<KVec<u8>> {
    let mut copy = KVec::new();

    copy.extend_from_slice(bytes, GFP_KERNEL)?;
    Ok(copy)
}
