// SPDX-License-Identifier: GPL-2.0

//! Creates inodes.

use daxmf::fs::{
    Attributes,
    Label, //
};
use kernel::{
    prelude::*,
    rbtree::RBTreeNode, //
};

use crate::{
    change::state::State,
    format::{
        Inode,
        Record, //
    },
    incore::inode::{
        inode_from,
        Node, //
    },
    ops::symlink::check_target, //
};

/// An inode that the next commit creates.
pub(super) struct PlannedInode {
    pub(super) number: u64,
    pub(super) inode: Inode,
    pub(super) node: RBTreeNode<u64, Node>,
}

impl State {
    pub(crate) fn create(
        &mut self,
        place: Option<(u64, &[u8])>,
        attributes: &Attributes,
        target: Option<&[u8]>,
        labels: &[Label],
    ) -> Result<u64> {
        self.begin_change()?;

        let directory = place.map(|(directory, _)| directory);
        let PlannedInode {
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
            view.nodes.insert(number, node);
            if let Some((directory, name)) = name {
                view.insert_name(directory, name);
            }
        })?;
        Ok(number)
    }

    /// Plans a new inode, and allocates its memory. The caller plans its name.
    pub(super) fn plan_inode(
        &mut self,
        directory: Option<u64>,
        attributes: &Attributes,
        target: Option<&[u8]>,
        labels: &[Label],
    ) -> Result<PlannedInode> {
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
        Ok(PlannedInode {
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
            // CAST: The lower bits are enough. The generation only has to differ from that of the
            // previous inode with this number.
            generation: self.metadata.sequence() as u32,
            ..inode
        }
    }
}
