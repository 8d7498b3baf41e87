// SPDX-License-Identifier: GPL-2.0

//! Checks names, directories and link counts.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use crate::format::{Inode, Record, ROOT};
use crate::make;
use crate::report::{place, Class};

use super::model::{LostAndFound, Name};
use super::Checker;

/// The name of the directory in which inodes without a name get one.
const LOST_AND_FOUND: &str = "lost+found";

impl Checker<'_, '_> {
    /// Checks that each name is in a directory, is unique there, and has an existing target.
    pub fn check_names(&mut self) {
        let mut seen = BTreeSet::new();

        for name in mem::take(&mut self.model.names) {
            let directory = self.model.inodes.get(&name.directory);
            let target = self.model.inodes.get(&name.target);
            let why = match (directory, target) {
                (None, _) => "the directory does not exist".into(),
                (Some(directory), _) if !directory.is_directory() => {
                    format!("inode {} is not a directory", name.directory)
                }
                (_, None) => format!("inode {} does not exist", name.target),
                (_, Some(_)) if name.target == ROOT => "its target is the root directory".into(),
                (_, Some(_)) if !seen.insert((name.directory, name.name.clone())) => {
                    "the directory has this name twice".into()
                }
                (_, Some(target)) => {
                    let kind = target.kind();

                    self.check_kind(name, kind);
                    continue;
                }
            };

            self.remove_name(&name, &why);
        }
    }

    /// Checks the type in a name whose target has type `kind`, and puts the name back into the
    /// model.
    fn check_kind(&mut self, mut name: Name, kind: u32) {
        if name.kind != kind {
            let what = format!(
                "{}: type {:o}, but inode {} is of type {kind:o}",
                name.describe(),
                name.kind,
                name.target
            );

            self.damage(name.address, what);
            name.kind = kind;

            let record = Record::Name {
                target: name.target,
                kind,
                name: &name.name,
            };

            self.table.write(name.address, name.directory, &record);
        }
        self.model.names.push(name);
    }

    /// Frees a name that was already removed from the model.
    fn remove_name(&mut self, name: &Name, why: &str) {
        self.loss(name.address, format!("{}: {why}", name.describe()));
        self.table.free(name.address, name.units);
    }

    fn remove_names(&mut self, indices: &BTreeSet<usize>, why: &str) {
        if indices.is_empty() {
            return;
        }
        for (index, name) in mem::take(&mut self.model.names).into_iter().enumerate() {
            match indices.contains(&index) {
                true => self.remove_name(&name, why),
                false => self.model.names.push(name),
            }
        }
    }

    /// Checks that each directory but the root has one name, which is in its parent, and that there
    /// is a path to it from the root.
    pub fn check_directories(&mut self) {
        self.check_single_names();
        self.check_reachable();
        self.check_parents();
    }

    /// The indices of the names of directories, by the inode of the directory.
    fn directory_names(&self) -> BTreeMap<u64, Vec<usize>> {
        let mut names: BTreeMap<u64, Vec<usize>> = BTreeMap::new();

        for (index, name) in self.model.names.iter().enumerate() {
            if name.kind == Inode::DIRECTORY {
                names.entry(name.target).or_default().push(index);
            }
        }
        names
    }

    fn check_single_names(&mut self) {
        let mut extra = BTreeSet::new();

        for (number, indices) in self.directory_names() {
            let parent = self.model.inodes.get(&number).map(|inode| inode.parent);
            let kept = indices
                .iter()
                .find(|index| Some(self.model.names[**index].directory) == parent)
                .or(indices.first())
                .copied();

            extra.extend(indices.into_iter().filter(|index| Some(*index) != kept));
        }
        self.remove_names(&extra, "the directory has another name");
    }

    /// Gives each directory without a name a name in `/lost+found`. If directories contain each
    /// other, one of them gets a name in `/lost+found` instead.
    fn check_reachable(&mut self) {
        let names = self.directory_names();
        let mut reached = BTreeSet::from([ROOT]);
        let mut unreachable = Vec::new();
        let mut cut = BTreeSet::new();

        for (number, inode) in &self.model.inodes {
            let mut path = BTreeSet::new();
            let mut at = *number;

            while inode.is_directory() && !reached.contains(&at) {
                let name = names.get(&at).and_then(|indices| indices.first());

                match name {
                    Some(index) if path.insert(at) => at = self.model.names[*index].directory,
                    _ => {
                        // The directory has no name, or is in a cycle. Cut the cycle here.
                        path.insert(at);
                        cut.extend(name);
                        unreachable.push(at);
                        break;
                    }
                }
            }
            reached.extend(path);
        }

        self.remove_names(&cut, "the directory contains itself");
        for number in unreachable {
            self.reconnect(number);
        }
    }

    fn check_parents(&mut self) {
        let mut parents: BTreeMap<u64, u64> = self
            .model
            .names
            .iter()
            .filter(|name| name.kind == Inode::DIRECTORY)
            .map(|name| (name.target, name.directory))
            .collect();

        parents.insert(ROOT, ROOT);
        for (number, parent) in parents {
            let was = self.model.inodes.get(&number).map(|inode| inode.parent);

            if let Some(was) = was.filter(|was| *was != parent) {
                let what = format!("directory {number} has parent {was}, but is in {parent}");

                self.damage(number, what);
                self.change_inode(number, |inode| inode.parent = parent);
            }
        }
    }

    /// Checks the link counts. A directory has one link from its parent, one from itself and one
    /// from each directory in it. All other inodes have one from each name.
    pub fn check_links(&mut self) {
        self.reconnect_nameless();

        let mut links: BTreeMap<u64, u32> = self
            .model
            .inodes
            .iter()
            .map(|(number, inode)| (*number, if inode.is_directory() { 2 } else { 0 }))
            .collect();

        for name in &self.model.names {
            let number = match name.kind {
                Inode::DIRECTORY => name.directory,
                _ => name.target,
            };

            if let Some(links) = links.get_mut(&number) {
                *links = links.saturating_add(1);
            }
        }
        for (number, links) in links {
            let was = self.model.inodes[&number].links;

            // An inode has no link here if there was no space for its name in `/lost+found`.
            if was != links && links != 0 {
                self.damage(
                    number,
                    format!("inode {number} has link count {was} instead of {links}"),
                );
                self.change_inode(number, |inode| inode.links = links);
            }
        }
    }

    fn reconnect_nameless(&mut self) {
        let named: BTreeSet<u64> = self.model.names.iter().map(|name| name.target).collect();
        let nameless: Vec<u64> = self
            .model
            .inodes
            .iter()
            .filter(|(number, inode)| !inode.is_directory() && !named.contains(number))
            .map(|(number, _)| *number)
            .collect();

        for number in nameless {
            self.reconnect(number);
        }
    }

    /// Gives an inode a name in `/lost+found`.
    fn reconnect(&mut self, number: u64) {
        let Some(inode) = self.model.inodes.get(&number).copied() else {
            return;
        };
        let what = format!("inode {number} has no name");
        let Some(name) = self.add_lost(number, inode.kind()) else {
            self.report.add_unrepairable(
                place(number),
                format!("{what}, and there is no space for one"),
            );
            return;
        };

        self.loss(number, format!("{what}: it gets /{LOST_AND_FOUND}/{name}"));
        if inode.is_directory() {
            let directory = self.lost_and_found.as_ref().map_or(ROOT, |x| x.number);

            self.change_inode(number, |inode| inode.parent = directory);
            self.add_link(directory);
        }
    }

    /// Counts the link to `directory` from a directory that was added to it.
    fn add_link(&mut self, directory: u64) {
        self.change_inode(directory, |inode| {
            inode.links = inode.links.saturating_add(1);
        });
    }

    /// Adds a name for an inode to `/lost+found`, which is created if it does not exist. Returns
    /// the name, or [`None`] if there is no space.
    fn add_lost(&mut self, target: u64, kind: u32) -> Option<String> {
        if self.lost_and_found.is_none() {
            let number = self
                .find_lost_and_found()
                .or_else(|| self.create_lost_and_found())?;
            let names = self.names_in(number);

            self.lost_and_found = Some(LostAndFound { number, names });
        }

        let LostAndFound { number, names } = self.lost_and_found.as_mut()?;
        let number = *number;
        let name = unused(names, &format!("#{target}"));

        names.insert(name.clone().into());
        self.add_name(number, target, kind, &name)?;
        Some(name)
    }

    fn names_in(&self, directory: u64) -> BTreeSet<Vec<u8>> {
        self.model
            .names
            .iter()
            .filter(|name| name.directory == directory)
            .map(|name| name.name.clone())
            .collect()
    }

    fn add_name(&mut self, directory: u64, target: u64, kind: u32, name: &str) -> Option<()> {
        let record = Record::Name {
            target,
            kind,
            name: name.as_bytes(),
        };
        let address = self.add(Some(directory), &record)?;

        self.model.names.push(Name {
            address,
            units: record.unit_count(),
            directory,
            target,
            kind,
            name: name.into(),
        });
        Some(())
    }

    fn find_lost_and_found(&self) -> Option<u64> {
        self.model
            .names
            .iter()
            .find(|name| {
                name.directory == ROOT
                    && name.kind == Inode::DIRECTORY
                    && name.name == LOST_AND_FOUND.as_bytes()
            })
            .map(|name| name.target)
    }

    fn create_lost_and_found(&mut self) -> Option<u64> {
        let name = unused(&self.names_in(ROOT), LOST_AND_FOUND);
        let inode = Inode {
            mode: Inode::DIRECTORY | 0o700,
            ..make::root(self.now)
        };
        let record = Record::Inode(inode);
        let number = self.add(None, &record)?;

        if self
            .add_name(ROOT, number, Inode::DIRECTORY, &name)
            .is_none()
        {
            self.table.free(number, record.unit_count());
            return None;
        }
        self.model.inodes.insert(number, inode);
        self.add_link(ROOT);
        self.report.add(
            Class::Damage,
            place(number),
            format!("/{name} is created as inode {number}"),
        );
        Some(number)
    }
}

/// `name`, or `name` with a number appended if `names` contains it.
fn unused(names: &BTreeSet<Vec<u8>>, name: &str) -> String {
    let mut unused = name.to_string();
    let mut number = 1;

    while names.contains(unused.as_bytes()) {
        number += 1;
        unused = format!("{name}.{number}");
    }
    unused
}
