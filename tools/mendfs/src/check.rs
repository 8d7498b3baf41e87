// SPDX-License-Identifier: GPL-2.0

//! Checks and repairs a filesystem.
//!
//! The check makes all repairs in memory, in rounds, until a round finds nothing. It needs several
//! rounds because a repair can cause new damage, such as a wrong number of links. The caller
//! decides whether the repair is written.

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

/// The limit of rounds, which is more than any damage needs.
const MAX_ROUNDS: usize = 32;

/// The result of a check.
pub struct Checked {
    /// The findings.
    pub report: Report,
    /// The repair, which is not written yet.
    pub repair: Repair,
}

/// Checks the filesystem on `media` without writing to it. `now` is the time stamp of inodes that
/// the repair creates.
///
/// # Errors
///
/// - A message if there is no superblock, or no metadata block has a good copy.
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
        if round == MAX_ROUNDS {
            report.add_unrepairable(
                "filesystem",
                "the repair does not end, because each round finds new damage",
            );
            break;
        }
    }

    Ok(Checked {
        report,
        repair: table.into_repair(),
    })
}

/// Lists the records of a filesystem after a replay of the journal, one per line.
///
/// # Errors
///
/// - A message if there is no superblock, or no metadata block has a good copy.
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

/// Calls `f` with the address of each record, the inode that it belongs to, and the record, after a
/// replay of the journal. Skips damaged records.
///
/// # Errors
///
/// - The errors of [`list()`].
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

/// One round of a check.
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

    /// Removes an inode. Later checks remove the records that belong to it.
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

        self.loss(ROOT, "there is no root directory: it is created".into());

        let root = make::root(self.now);
        let len = Record::Inode(root).unit_count();

        // Free all records that overlap its address.
        for (address, units) in self.model.in_block(0) {
            if address < ROOT + len && address + units > ROOT {
                self.table.free(address, units);
                self.model.remove(address);
            }
        }
        self.table.write(ROOT, ROOT, &Record::Inode(root));
        self.model.inodes.insert(ROOT, root);
    }

    /// Checks that the fields that only some types of inodes use are 0 in all others.
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
                    "inode {number} of type {:o} must not have {}",
                    inode.kind(),
                    wrong.join(", ")
                );

                self.damage(number, what);
                self.change_inode(number, |to| *to = inode);
            }
        }
    }

    /// Removes orphans: inodes without a link or a name, which were open when the machine stopped.
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
            let what = format!("inode {number} was removed while open, and is not freed yet");

            self.report.add(Class::Note, place(number), what);
            self.remove_inode(number);
        }
    }

    /// Removes the records that belong to these inodes, without a finding.
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

/// Frees units. Returns false, for `retain()`.
fn free(table: &mut Table<'_>, address: u64, units: u64) -> bool {
    table.free(address, units);
    false
}
