// SPDX-License-Identifier: GPL-2.0

//! Names: directories, links, symbolic links, extended attributes.

use daxmf::fs::{
    Attributes,
    Entry,
    Label,
    Time,
    Whiteout,
    FIRST_POSITION, //
};
use kernel::{
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode, //
    },
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
    view::View, //
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

/// Where a directory goes: what a rename changes.
pub(crate) struct Move<'a> {
    pub(crate) from: u64,
    pub(crate) name: &'a [u8],
    pub(crate) inode: u64,
    pub(crate) to: u64,
    pub(crate) new_name: &'a [u8],
    pub(crate) replaced: Option<u64>,
    pub(crate) whiteout: Option<&'a Whiteout>,
    pub(crate) now: Time,
}

/// An inode that the next commit creates.
struct Planned {
    number: u64,
    inode: Inode,
    node: RBTreeNode<u64, Node>,
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
    fn position(&self, name: &[u8], address: u64) -> u64 {
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
    fn find_in<V>(&self, names: &RBTree<u64, V>, name: &[u8]) -> Result<Option<u64>> {
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

    /// Finds a name and its position.
    pub(crate) fn find_name(&self, directory: u64, name: &[u8]) -> Result<Option<(u64, Name)>> {
        let names = &self.node(directory)?.names;
        let position = self.find_in(names, name)?;

        Ok(position.and_then(|position| Some((position, *names.get(&position)?))))
    }

    /// The position of a name that is there.
    fn name(&self, directory: u64, name: &[u8]) -> Result<u64> {
        self.find_in(&self.node(directory)?.names, name)?
            .ok_or(ENOENT)
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

            let goes_on = emit(Entry {
                name: self.name_at(address(*position))?,
                number: entry.target,
                mode: entry.kind,
                next,
            });

            if !goes_on {
                break;
            }
        }
        Ok(())
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

    pub(crate) fn target(&self, number: u64) -> Result<KVec<u8>> {
        let address = self.node(number)?.target.ok_or(EINVAL)?;

        match self.table.record(address)? {
            Record::Target(target) => copy(target),
            _ => Err(EUCLEAN),
        }
    }

    pub(crate) fn attribute(&self, number: u64, name: &[u8]) -> Result<KVec<u8>> {
        let attributes = &self.node(number)?.attributes;
        let position = self.find_in(attributes, name)?.ok_or(ENODATA)?;

        match self.table.record(address(position))? {
            Record::Attribute { value, .. } => copy(value),
            _ => Err(EUCLEAN),
        }
    }

    pub(crate) fn attributes(&self, number: u64, emit: &mut dyn FnMut(&[u8]) -> Result) -> Result {
        for position in self.node(number)?.attributes.keys() {
            emit(self.name_at(address(*position))?)?;
        }
        Ok(())
    }
}

impl State {
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
        let address = self.add(directory, &record)?;
        let position = self.view.position(name, address);

        RBTreeNode::new(position, Name { target, kind }, GFP_KERNEL)
    }

    /// Plans the same for its record.
    fn replace_name(
        &mut self,
        directory: u64,
        position: u64,
        name: &[u8],
        target: u64,
        kind: u32,
    ) -> Result {
        let record = Record::Name { target, kind, name };

        self.metadata.replace(address(position), directory, &record)
    }

    pub(crate) fn create(
        &mut self,
        place: Option<(u64, &[u8])>,
        attributes: &Attributes,
        target: Option<&[u8]>,
        labels: &[Label],
    ) -> Result<u64> {
        self.begin()?;

        let directory = place.map(|(directory, _)| directory);
        let Planned {
            number,
            inode,
            node,
        } = self.plan_inode(directory, attributes, target, labels)?;
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

        self.commit(|view| {
            view.inodes.insert(node);
            if let Some((directory, name)) = name {
                view.insert_name(directory, name);
            }
        })?;
        Ok(number)
    }

    /// Plans an inode, for which memory is allocated. Its name is for the caller to plan.
    fn plan_inode(
        &mut self,
        directory: Option<u64>,
        attributes: &Attributes,
        target: Option<&[u8]>,
        labels: &[Label],
    ) -> Result<Planned> {
        let target = target.map(check_target).transpose()?;
        let inode = self.new_inode(directory, attributes, target);
        let number = self.add_inode(&Record::Inode(inode))?;
        let mut node = Node::new(inode);

        if let Some(target) = target {
            node.target = Some(self.add(number, &Record::Target(target))?);
        }
        for Label { name, value } in labels {
            node.attributes
                .insert(self.plan_attribute(number, name, value)?);
        }
        Ok(Planned {
            number,
            inode,
            node: RBTreeNode::new(number, node, GFP_KERNEL)?,
        })
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

        let inode = self.view.node(number)?.inode;
        let links = inode.links.checked_add(1).ok_or(EMLINK)?;

        self.edit(number, |inode| {
            inode.links = links;
            inode.changed = from_vfs(now);
        })?;
        self.touch(directory, now)?;
        let name = self.add_name(directory, name, number, inode.kind())?;

        self.commit(|view| view.insert_name(directory, name))
    }

    /// Plans that an inode loses a name in `directory`.
    fn drop_link(&mut self, directory: u64, number: u64, now: Time) -> Result {
        let node = self.view.node(number)?;
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

        let position = self.view.name(directory, name)?;

        self.metadata.remove(&self.view, address(position))?;
        self.touch(directory, now)?;
        self.drop_link(directory, number, now)?;

        self.commit(|view| view.remove_name(directory, position))
    }

    /// Plans that an inode comes from one directory to another.
    fn move_inode(&mut self, number: u64, from: u64, to: u64, now: Time) -> Result {
        let is_directory = self.view.node(number)?.inode.is_directory();

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

    /// Plans that a name is there no more, or that of a whiteout from now on. Returns that.
    fn plan_old_name(&mut self, it: &Move<'_>, position: u64) -> Result<Option<Planned>> {
        let Some(Whiteout { attributes, labels }) = it.whiteout else {
            self.metadata.remove(&self.view, address(position))?;
            return Ok(None);
        };
        let planned = self.plan_inode(Some(it.from), attributes, None, labels)?;
        let kind = planned.inode.kind();

        self.replace_name(it.from, position, it.name, planned.number, kind)?;
        Ok(Some(planned))
    }

    pub(crate) fn rename(&mut self, it: &Move<'_>) -> Result {
        self.begin()?;

        let kind = self.view.node(it.inode)?.inode.kind();
        let position = self.view.name(it.from, it.name)?;
        let replaced = match it.replaced {
            Some(number) => Some((number, self.view.name(it.to, it.new_name)?)),
            None => None,
        };
        let whiteout = self.plan_old_name(it, position)?;

        self.touch(it.from, it.now)?;
        self.touch(it.to, it.now)?;
        self.move_inode(it.inode, it.from, it.to, it.now)?;

        let new_name = match replaced {
            Some((number, new_position)) => {
                self.replace_name(it.to, new_position, it.new_name, it.inode, kind)?;
                self.drop_link(it.to, number, it.now)?;
                None
            }
            None => Some(self.add_name(it.to, it.new_name, it.inode, kind)?),
        };

        self.commit(|view| {
            match whiteout {
                Some(Planned {
                    number,
                    inode,
                    node,
                }) => {
                    view.inodes.insert(node);
                    view.point_name(it.from, position, number, inode.kind());
                }
                None => view.remove_name(it.from, position),
            }
            match (new_name, replaced) {
                (Some(name), _) => view.insert_name(it.to, name),
                (None, Some((_, position))) => view.point_name(it.to, position, it.inode, kind),
                (None, None) => (),
            }
        })
    }

    /// Exchanges two names.
    pub(crate) fn exchange(&mut self, it: &Move<'_>, other: u64) -> Result {
        self.begin()?;

        let kind = self.view.node(it.inode)?.inode.kind();
        let other_kind = self.view.node(other)?.inode.kind();
        let position = self.view.name(it.from, it.name)?;
        let new_position = self.view.name(it.to, it.new_name)?;

        self.replace_name(it.from, position, it.name, other, other_kind)?;
        self.replace_name(it.to, new_position, it.new_name, it.inode, kind)?;
        self.touch(it.from, it.now)?;
        self.touch(it.to, it.now)?;
        self.move_inode(it.inode, it.from, it.to, it.now)?;
        self.move_inode(other, it.to, it.from, it.now)?;

        self.commit(|view| {
            view.point_name(it.from, position, other, other_kind);
            view.point_name(it.to, new_position, it.inode, kind);
        })
    }

    /// Plans to add an extended attribute. Returns what the inode gets.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if there is no room.
    fn plan_attribute(
        &mut self,
        number: u64,
        name: &[u8],
        value: &[u8],
    ) -> Result<RBTreeNode<u64, ()>> {
        if name.len().saturating_add(value.len()) > Record::MAX_TEXT {
            return Err(ENOSPC);
        }

        let record = Record::Attribute { name, value };
        let address = self.add(number, &record)?;

        RBTreeNode::new(self.view.position(name, address), (), GFP_KERNEL)
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

        let attributes = &self.view.node(number)?.attributes;
        let found = self.view.find_in(attributes, name)?;

        match (is_there, found) {
            (Some(true), None) => return Err(ENODATA),
            (Some(false), Some(_)) => return Err(EEXIST),
            _ => {}
        }
        if value.is_none() && found.is_none() {
            return Err(ENODATA);
        }

        let added = value
            .map(|value| self.plan_attribute(number, name, value))
            .transpose()?;

        if let Some(position) = found {
            self.metadata.remove(&self.view, address(position))?;
        }
        self.edit(number, |inode| inode.changed = from_vfs(now))?;

        self.commit(|view| {
            let Ok(node) = view.node_mut(number) else {
                return;
            };

            if let Some(position) = found {
                node.attributes.remove(&position);
            }
            if let Some(added) = added {
                node.attributes.insert(added);
            }
        })
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
