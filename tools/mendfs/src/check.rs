// SPDX-License-Identifier: GPL-2.0

//! Checks a filesystem, and repairs it.
//!
//! All is repaired in memory first, in rounds, until a round finds nothing: a repair may make
//! another one necessary. Only then, if that is allowed, it is written.

mod contents;
mod model;
mod tree;

use std::collections::BTreeSet;

use crate::format::{Inode, Record, Time, ROOT};
use crate::info;
use crate::make;
use crate::media::Media;
use crate::report::{place, Class, Report};
use crate::superblock;
use crate::table::repair::Repair;
use crate::table::Table;

use model::{LostAndFound, Model};

/// More rounds than any damage needs.
const ROUNDS: usize = 32;

/// A filesystem that was checked.
pub struct Checked {
    /// What was found.
    pub report: Report,
    /// What is to be written.
    pub repair: Repair,
}

/// Checks the filesystem on `media`, and nothing is written. `now` is the time of what has to be
/// made anew.
///
/// # Errors
///
/// - A sentence if there is no filesystem, or nothing left of it.
pub fn check(media: &dyn Media, now: Time) -> Result<Checked, String> {
    let mut report = Report::default();
    let superblock = superblock::find(media, &mut report)?;

    report.uuid = superblock.mount_uuid;
    report.label = info::label(&superblock);

    let mut table = Table::new(media, superblock, &mut report)?;

    for round in 0.. {
        let before = report.repairs();
        let mut checker = Checker {
            model: Model::read(&mut table, &mut report),
            table: &mut table,
            report: &mut report,
            now,
            lost_and_found: None,
        };

        checker.check();

        let statistics = checker.model.statistics(checker.table);

        report.statistics = statistics;
        if report.repairs() == before {
            break;
        }
        if round == ROUNDS {
            report.add_hopeless("filesystem", "each repair makes another one necessary");
            break;
        }
    }

    Ok(Checked {
        report,
        repair: table.into_repair(),
    })
}

/// Lists the records of a filesystem, a line each, as they are once the journal is replayed.
///
/// # Errors
///
/// - A sentence if there is no filesystem, or nothing left of it.
pub fn list(media: &dyn Media) -> Result<impl Iterator<Item = String> + '_, String> {
    let mut report = Report::default();
    let superblock = superblock::find(media, &mut report)?;
    let table = Table::new(media, superblock, &mut report)?;

    let numbers: Vec<u64> = table.chunks().blocks().collect();

    Ok(numbers.into_iter().flat_map(move |number| {
        let lines: Vec<_> = model::records(number, &table.read(number))
            .into_iter()
            .map(|(address, record)| match record {
                Ok((owner, record)) => format!("{address} {owner} {}", describe(&record)),
                Err(damaged) => format!("{address} ? {}", damaged.what),
            })
            .collect();

        lines
    }))
}

/// Calls `f` with the address of each record, the inode that it belongs to, and the record, as they
/// are once the journal is replayed. What is damaged is left out.
///
/// # Errors
///
/// - As [`list()`].
pub fn for_each_record(
    media: &dyn Media,
    mut f: impl FnMut(u64, u64, &Record<'_>),
) -> Result<(), String> {
    let mut report = Report::default();
    let superblock = superblock::find(media, &mut report)?;
    let table = Table::new(media, superblock, &mut report)?;

    for number in table.chunks().blocks() {
        for (address, record) in model::records(number, &table.read(number)) {
            if let Ok((owner, record)) = record {
                f(address, owner, &record);
            }
        }
    }
    Ok(())
}

fn describe(record: &Record<'_>) -> String {
    match record {
        Record::Inode(inode) => format!(
            "inode mode={:o} uid={} gid={} links={} size={} device={} parent={} generation={} \
             flags={:#x} version={}",
            inode.mode,
            inode.uid,
            inode.gid,
            inode.links,
            inode.size,
            inode.device,
            inode.parent,
            inode.generation,
            inode.flags,
            inode.version
        ),
        Record::Extent(extent) => format!(
            "extent file_block={} block={} count={}",
            extent.file_block, extent.block, extent.count
        ),
        Record::Name { target, kind, name } => format!(
            "name target={target} type={kind:o} \"{}\"",
            name.escape_ascii()
        ),
        Record::Attribute { name, value } => format!(
            "attribute \"{}\" value=\"{}\"",
            name.escape_ascii(),
            value.escape_ascii()
        ),
        Record::Target(target) => format!("target \"{}\"", target.escape_ascii()),
        Record::Bad { block, count } => format!("bad block={block} count={count}"),
        Record::Chunk(chunk) => format!(
            "chunk number={} copies={},{}",
            chunk.number, chunk.copies[0], chunk.copies[1]
        ),
    }
}

/// A round.
struct Checker<'a, 'b> {
    table: &'a mut Table<'b>,
    report: &'a mut Report,
    model: Model,
    now: Time,
    lost_and_found: Option<LostAndFound>,
}

impl Checker<'_, '_> {
    fn check(&mut self) {
        self.check_root();
        self.check_inodes();
        self.check_targets();
        self.check_owners();
        self.check_attributes();
        self.check_extents();
        self.check_bad_ranges();
        self.remove_orphans();
        self.check_names();
        self.check_directories();
        self.check_links();
    }

    fn damage(&mut self, address: u64, what: String) {
        self.report.add(Class::Damage, place(address), what);
    }

    fn loss(&mut self, address: u64, what: String) {
        self.report.add(Class::Loss, place(address), what);
    }

    /// Changes an inode, in memory and in the table.
    fn change_inode(&mut self, number: u64, change: impl FnOnce(&mut Inode)) {
        if let Some(inode) = self.model.inodes.get_mut(&number) {
            change(inode);
            self.table.write(number, number, &Record::Inode(*inode));
        }
    }

    /// Takes an inode away. What belongs to it is found to have no owner then.
    fn remove_inode(&mut self, number: u64) {
        if let Some(inode) = self.model.inodes.remove(&number) {
            self.table.free(number, Record::Inode(inode).unit_count());
        }
    }

    fn check_root(&mut self) {
        if self
            .model
            .inodes
            .get(&ROOT)
            .is_some_and(Inode::is_directory)
        {
            return;
        }

        self.loss(ROOT, "the root directory is not there: made anew".into());

        let root = make::root(self.now);
        let len = Record::Inode(root).unit_count();

        // Whatever is in its place goes.
        for (address, units) in self.model.in_block(0) {
            if address < ROOT + len && address + units > ROOT {
                self.table.free(address, units);
                self.model.remove(address);
            }
        }
        self.table.write(ROOT, ROOT, &Record::Inode(root));
        self.model.inodes.insert(ROOT, root);
    }

    /// Checks fields that mean something for some types only.
    fn check_inodes(&mut self) {
        let numbers: Vec<u64> = self.model.inodes.keys().copied().collect();

        for number in numbers {
            let was = self.model.inodes[&number];
            let inode = was.normalized();
            let wrong: Vec<_> = [
                ("size", was.size, inode.size),
                ("device number", was.device, inode.device),
                ("parent", was.parent, inode.parent),
            ]
            .into_iter()
            .filter(|(_, was, is)| was != is)
            .map(|(what, was, _)| format!("{what} {was}"))
            .collect();

            if !wrong.is_empty() {
                let what = format!(
                    "inode {number}, of type {:o}, has {}",
                    inode.kind(),
                    wrong.join(", ")
                );

                self.damage(number, what);
                self.change_inode(number, |to| *to = inode);
            }
        }
    }

    /// Takes away inodes without a link or a name: they were open when the machine stopped.
    fn remove_orphans(&mut self) {
        let named: BTreeSet<u64> = self.model.names.iter().map(|name| name.target).collect();
        let parents: BTreeSet<u64> = self.model.names.iter().map(|name| name.directory).collect();
        let orphans: BTreeSet<u64> = self
            .model
            .inodes
            .iter()
            .filter(|(number, inode)| {
                inode.links == 0
                    && **number != ROOT
                    && !named.contains(number)
                    && !parents.contains(number)
            })
            .map(|(number, _)| *number)
            .collect();

        self.remove_belongings(&orphans);
        for number in orphans {
            let what = format!("inode {number} was removed while open: it goes");

            self.report.add(Class::Note, place(number), what);
            self.remove_inode(number);
        }
    }
    /// Takes away what belongs to inodes that go, without a word.
    fn remove_belongings(&mut self, inodes: &BTreeSet<u64>) {
        let Self { table, model, .. } = self;

        model
            .extents
            .retain(|x| !inodes.contains(&x.owner) || free(table, x.address, x.units));
        model
            .attributes
            .retain(|x| !inodes.contains(&x.owner) || free(table, x.address, x.units));
        model
            .targets
            .retain(|x| !inodes.contains(&x.owner) || free(table, x.address, x.units));
    }
}

/// Frees units. Returns that they are no longer there.
fn free(table: &mut Table<'_>, address: u64, units: u64) -> bool {
    table.free(address, units);
    false
}
