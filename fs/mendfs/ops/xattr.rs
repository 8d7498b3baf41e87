// SPDX-License-Identifier: GPL-2.0

//! Extended attributes.

use daxmf::fs::Time;
use kernel::{
    prelude::*,
    rbtree::RBTreeNode, //
};

use crate::{
    change::state::State,
    format::Record,
    incore::{
        inode::from_vfs,
        position::address,
        view::View, //
    },
    ops::symlink::to_vec, //
};

impl View {
    pub(crate) fn attribute(&self, number: u64, name: &[u8]) -> Result<KVec<u8>> {
        let attributes = &self.node(number)?.attributes;
        let position = self.find_in(attributes, name)?.ok_or(ENODATA)?;

        match self.table.record(address(position))? {
            Record::Attribute { value, .. } => to_vec(value),
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
    /// Plans the record of a new extended attribute. Returns the node for the tree of attributes.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if the name and the value are too long, or no room is left.
    pub(super) fn plan_attribute(
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
        must_exist: Option<bool>,
        now: Time,
    ) -> Result {
        self.begin_change()?;

        let attributes = &self.view.node(number)?.attributes;
        let found = self.view.find_in(attributes, name)?;

        match (must_exist, found) {
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
