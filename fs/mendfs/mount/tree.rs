// SPDX-License-Identifier: GPL-2.0

//! Checks that the names form a tree with all inodes in it. A mount runs this check after it has
//! read all records.

use kernel::{
    alloc::KVVec,
    prelude::*,
    rbtree::RBTree, //
};

use crate::{
    format::{
        Inode,
        ROOT, //
    },
    incore::{
        inode::Node,
        position::{
            address,
            has_same_hash, //
        },
        view::View, //
    },
};

impl View {
    /// Checks links, names, attributes and targets of all inodes.
    ///
    /// # Errors
    ///
    /// - `EUCLEAN` if the number of links of an inode is wrong, a name or an attribute exists
    ///   twice, a symbolic link has no target, or a directory is not below the root.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn check_tree(&self) -> Result {
        let mut directories = 0_u64;
        let mut same = KVVec::new();

        for (number, node) in self.nodes.iter() {
            self.check_names(&node.names, &mut same)?;
            self.check_names(&node.attributes, &mut same)?;
            self.check_links(number, node)?;
            if node.inode.kind() == Inode::SYMLINK && node.target.is_none() {
                return Err(self.report_damage(number, "symbolic link without a target"));
            }
            if node.inode.is_directory() && node.inode.links != 0 {
                directories = directories.saturating_add(1);
            }
        }

        let reached = self.count_directories()?;

        if reached != directories {
            return Err(self.report_damage(
                ROOT,
                fmt!("{reached} directories are below the root, but {directories} exist"),
            ));
        }
        Ok(())
    }

    /// Checks that the names of a directory, or the attributes of an inode, are distinct. `same` is
    /// a buffer for positions with the same hash.
    fn check_names<V>(&self, names: &RBTree<u64, V>, same: &mut KVVec<u64>) -> Result {
        same.clear();
        for position in names.keys() {
            if same
                .last()
                .is_some_and(|last| !has_same_hash(*last, *position))
            {
                self.check_distinct(same)?;
                same.clear();
            }
            same.push(*position, GFP_KERNEL)?;
        }
        self.check_distinct(same)
    }

    /// Checks that names with the same hash are distinct. It sorts them, because a malicious image
    /// can have many.
    fn check_distinct(&self, same: &mut [u64]) -> Result {
        let name = |position: &u64| self.name_at(address(*position)).ok();

        same.sort_unstable_by(|a, b| name(a).cmp(&name(b)));

        match same
            .windows(2)
            .find(|pair| pair.first().map(name) == pair.last().map(name))
        {
            Some([first, last]) => {
                Err(self.report_damage(address(*first.max(last)), "name that exists twice"))
            }
            _ => Ok(()),
        }
    }

    /// The number of directories below the root, plus one for the root. It visits each directory
    /// once, because each has exactly one name: `check_links()` has checked that.
    fn count_directories(&self) -> Result<u64> {
        let mut left = KVVec::new();
        let mut count = 0_u64;

        left.push(ROOT, GFP_KERNEL)?;
        while let Some(number) = left.pop() {
            let node = self.node(number)?;

            count = count.saturating_add(1);
            if node.link_counts.directories == 0 {
                continue;
            }
            for name in node.names.values() {
                if name.kind == Inode::DIRECTORY {
                    left.push(name.target, GFP_KERNEL)?;
                }
            }
        }
        Ok(count)
    }

    /// Checks the number of links of an inode. An orphan has no links.
    fn check_links(&self, number: u64, node: &Node) -> Result {
        let Inode { links, parent, .. } = node.inode;
        let names = node.link_counts.names;
        let is_removed = number != ROOT && links == 0 && names == 0 && node.names.is_empty();

        let is_right = match node.inode.is_directory() {
            _ if is_removed => true,
            false => links == names,
            // One link is from the name, or from the root itself in place of a name. One is from
            // the directory itself.
            true => {
                let is_named = match number {
                    ROOT => parent == ROOT,
                    _ => names == 1,
                };

                is_named && links == node.link_counts.directories.saturating_add(2)
            }
        };

        match is_right {
            true => Ok(()),
            false => {
                Err(self.report_damage(number, fmt!("inode with {links} links and {names} names")))
            }
        }
    }
}
