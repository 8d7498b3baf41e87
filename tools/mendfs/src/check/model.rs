// SPDX-License-Identifier: GPL-2.0

//! The records of a filesystem in memory.

use std::collections::{BTreeMap, BTreeSet};

use crate::format::{Block, Extent, Inode, Record, UNITS, UNIT_SIZE};
use crate::report::{place, Class, Report, Statistics};
use crate::table::Table;

/// A record that belongs to an inode, or to none.
#[derive(Clone, Debug)]
pub struct Owned<T> {
    pub address: u64,
    pub units: u64,
    pub owner: u64,
    pub record: T,
}

/// A name in a directory.
#[derive(Clone, Debug)]
pub struct Name {
    pub address: u64,
    pub units: u64,
    pub directory: u64,
    pub target: u64,
    pub kind: u32,
    pub name: Vec<u8>,
}

impl Name {
    /// The name as it is printed in messages.
    pub fn describe(&self) -> String {
        format!(
            "name \"{}\" in directory {}",
            self.name.escape_ascii(),
            self.directory
        )
    }
}

/// The directory `/lost+found`, in which inodes without a name get one.
pub struct LostAndFound {
    pub number: u64,
    pub names: BTreeSet<Vec<u8>>,
}

/// A range of bad blocks.
#[derive(Clone, Copy, Debug)]
pub struct BadRange {
    pub block: u64,
    pub count: u64,
}

/// All records.
#[derive(Default)]
pub struct Model {
    pub inodes: BTreeMap<u64, Inode>,
    pub names: Vec<Name>,
    pub extents: Vec<Owned<Extent>>,
    pub attributes: Vec<Owned<Vec<u8>>>,
    /// Targets of symbolic links, by their lengths.
    pub targets: Vec<Owned<u64>>,
    pub bad_ranges: Vec<Owned<BadRange>>,
}

/// Units that are neither free nor a record.
pub struct Damaged {
    /// Number of units.
    pub units: u64,
    /// The severity.
    pub class: Class,
    /// What is wrong.
    pub what: String,
}

/// The inode that a record belongs to, and the record.
type Read<'a> = Result<(u64, Record<'a>), Damaged>;

/// The records of metadata block `number`, by address.
pub fn records(number: u64, block: &Block) -> Vec<(u64, Read<'_>)> {
    let mut records = Vec::new();
    let mut unit = 1;

    while unit < UNITS {
        let address = number * UNITS + unit;
        let (units, record) = record(&block[unit as usize * UNIT_SIZE..]);

        records.extend(record.map(|record| (address, record)));
        unit += units;
    }
    records
}

/// Reads the first record or free unit in `rest` of a block. Returns its number of units, and the
/// record if there is one.
fn record(rest: &[u8]) -> (u64, Option<Read<'_>>) {
    let damaged = |units, class, what| {
        let damaged = Damaged { units, class, what };

        (units, Some(Err(damaged)))
    };

    match Record::units(rest) {
        // A unit is zeroed when it is freed.
        Ok(None) if rest[..UNIT_SIZE].iter().any(|byte| *byte != 0) => {
            damaged(1, Class::Damage, "a free unit is not zeroed".into())
        }
        Ok(None) => (1, None),
        Ok(Some(units)) => match Record::read(&rest[..units as usize * UNIT_SIZE]) {
            Ok(record) => (units, Some(Ok(record))),
            Err(fault) => damaged(units, Class::Loss, fault.to_string()),
        },
        Err(fault) => damaged(1, Class::Loss, fault.to_string()),
    }
}

impl Model {
    /// Reads all records, and frees damaged units.
    pub fn read(table: &mut Table<'_>, report: &mut Report) -> Self {
        let mut model = Self::default();

        let numbers: Vec<u64> = table.chunks().blocks().collect();

        for number in numbers {
            let block = table.read(number);

            for (address, record) in records(number, &block) {
                match record {
                    Ok((owner, record)) => model.add(address, owner, &record, table, report),
                    Err(damaged) => {
                        report.add(damaged.class, place(address), damaged.what);
                        table.free(address, damaged.units);
                    }
                }
            }
        }
        model
    }

    fn add(
        &mut self,
        address: u64,
        owner: u64,
        record: &Record<'_>,
        table: &mut Table<'_>,
        report: &mut Report,
    ) {
        let units = record.unit_count();

        match *record {
            Record::Inode(inode) => {
                if owner != address {
                    let what = format!("the record of inode {address} has the number {owner}");

                    report.add(Class::Damage, place(address), what);
                    table.write(address, address, record);
                }
                self.inodes.insert(address, inode);
            }
            Record::Extent(record) => self.extents.push(Owned {
                address,
                units,
                owner,
                record,
            }),
            Record::Name { target, kind, name } => self.names.push(Name {
                address,
                units,
                directory: owner,
                target,
                kind,
                name: name.into(),
            }),
            Record::Attribute { name, .. } => self.attributes.push(Owned {
                address,
                units,
                owner,
                record: name.into(),
            }),
            Record::Target(target) => self.targets.push(Owned {
                address,
                units,
                owner,
                record: target.len() as u64,
            }),
            Record::Bad { block, count } => {
                if owner != 0 {
                    let what = format!("a bad range must not belong to inode {owner}");

                    report.add(Class::Damage, place(address), what);
                    table.write(address, 0, record);
                }
                self.bad_ranges.push(Owned {
                    address,
                    units,
                    owner: 0,
                    record: BadRange { block, count },
                });
            }
            // The table has checked these records.
            Record::Chunk(_) if table.chunks().is_link(address) => {}
            Record::Chunk(_) => {
                let what = "a record of a chunk must be in the last unit of another one";

                report.add(Class::Damage, place(address), what);
                table.free(address, units);
            }
        }
    }

    /// The address and the number of units of all records in a metadata block.
    pub fn in_block(&self, number: u64) -> Vec<(u64, u64)> {
        let inodes = self
            .inodes
            .iter()
            .map(|(address, inode)| (*address, Record::Inode(*inode).unit_count()));

        inodes
            .chain(self.names.iter().map(|x| (x.address, x.units)))
            .chain(self.extents.iter().map(|x| (x.address, x.units)))
            .chain(self.attributes.iter().map(|x| (x.address, x.units)))
            .chain(self.targets.iter().map(|x| (x.address, x.units)))
            .chain(self.bad_ranges.iter().map(|x| (x.address, x.units)))
            .filter(|(address, _)| address / UNITS == number)
            .collect()
    }

    /// Removes the record at an address from the model.
    pub fn remove(&mut self, address: u64) {
        self.inodes.remove(&address);
        self.names.retain(|x| x.address != address);
        self.extents.retain(|x| x.address != address);
        self.attributes.retain(|x| x.address != address);
        self.targets.retain(|x| x.address != address);
        self.bad_ranges.retain(|x| x.address != address);
    }

    /// Counts records, blocks and units.
    pub fn statistics(&self, table: &Table<'_>) -> Statistics {
        let geometry = &table.superblock().geometry;
        let data = geometry.data();
        let names: u64 = self.names.iter().map(|x| x.units).sum();
        let attributes: u64 = self.attributes.iter().map(|x| x.units).sum();
        let targets: u64 = self.targets.iter().map(|x| x.units).sum();
        let others = self.extents.len() + self.bad_ranges.len() + 2 * self.inodes.len();
        let is_directory = |inode: &&Inode| inode.is_directory();

        Statistics {
            inodes: self.inodes.len() as u64,
            directories: self.inodes.values().filter(is_directory).count() as u64,
            names: self.names.len() as u64,
            extents: self.extents.len() as u64,
            attributes: self.attributes.len() as u64,
            bad_ranges: self.bad_ranges.len() as u64,
            data_blocks: data.end - data.start,
            used_blocks: self.used_blocks(),
            units: table.chunks().units(),
            used_units: names + attributes + targets + others as u64,
        }
    }

    /// Counts the blocks that are allocated to files. A shared block counts once.
    fn used_blocks(&self) -> u64 {
        let mut ranges: Vec<(u64, u64)> = self
            .extents
            .iter()
            .map(|extent| (extent.record.block, extent.record.end()))
            .collect();
        let mut used = 0;
        let mut previous_end = 0;

        ranges.sort_unstable();
        for (start, end) in ranges {
            used += end.saturating_sub(start.max(previous_end));
            previous_end = previous_end.max(end);
        }
        used
    }
}
