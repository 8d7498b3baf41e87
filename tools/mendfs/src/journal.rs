// SPDX-License-Identifier: GPL-2.0

//! Reads the journal, and retires it before a repair.

use std::collections::BTreeMap;
use std::io;

use crate::checksum;
use crate::format::{
    Fault, Header, Magic, Superblock, Transaction, BLOCK_SIZE, COPIES, SLOTS, UNITS, UNIT_SIZE,
};
use crate::media::Media;
use crate::report::{Class, Report};

/// A unit of metadata in a transaction.
pub struct Logged {
    /// The number of the transaction.
    pub sequence: u64,
    /// The number of the unit in its block.
    pub unit: u64,
    /// The contents of the unit after the transaction.
    pub bytes: [u8; UNIT_SIZE],
}

/// A transaction in the journal: its units, each with the number of its metadata block.
struct Found {
    sequence: u64,
    units: Vec<(u64, Logged)>,
}

/// The contents of the journal.
#[derive(Default)]
pub struct Journal {
    /// The number of the newest transaction; 0 if there is none.
    pub sequence: u64,
    /// Units that are possibly not written to the metadata yet, by metadata block, the oldest
    /// first.
    pub units: BTreeMap<u64, Vec<Logged>>,
    /// Whether the journal is damaged, so that a repair must rewrite it.
    pub is_damaged: bool,
}

impl Journal {
    /// Reads the newest transaction of the journal, and the previous one.
    pub fn read(media: &dyn Media, superblock: &Superblock, report: &mut Report) -> Self {
        let mut journal = Self::default();
        let mut found: Vec<Found> = (0..SLOTS)
            .filter_map(|slot| journal.read_slot(media, superblock, slot, report))
            .collect();

        found.sort_by_key(|found| found.sequence);
        journal.sequence = found.last().map_or(0, |found| found.sequence);
        for Found { sequence, units } in found {
            // An older transaction was written to the metadata before the newest was logged.
            if sequence + 1 < journal.sequence {
                continue;
            }
            for (block, unit) in units {
                journal.units.entry(block).or_default().push(unit);
            }
        }
        journal
    }

    /// Reads both copies of a slot, and returns the newest complete transaction. After a crash, one
    /// copy can be incomplete.
    fn read_slot(
        &mut self,
        media: &dyn Media,
        superblock: &Superblock,
        slot: u64,
        report: &mut Report,
    ) -> Option<Found> {
        let mut newest: Option<Found> = None;

        for copy in 0..COPIES {
            let place = format!("journal {copy}, slot {slot}");
            let mut bytes = vec![0; superblock.geometry.slot_size()];

            if let Err(e) = media.read(superblock.geometry.slot(copy, slot), &mut bytes) {
                report.add(Class::Damage, place, e.to_string());
                self.is_damaged = true;
                continue;
            }
            match parse(&bytes, superblock, slot) {
                Ok(None) => {}
                Ok(Some(found)) => {
                    if newest.as_ref().is_none_or(|n| n.sequence < found.sequence) {
                        newest = Some(found);
                    }
                }
                Err(what) => {
                    report.add(Class::Damage, place, what);
                    self.is_damaged = true;
                }
            }
        }
        newest
    }

    /// Overwrites the journal with two empty transactions, `sequence + 1` and `sequence + 2`, so
    /// that no replay overwrites the repair. The first one overwrites the slot of the older
    /// transaction: the newest one must stay until a newer one is complete.
    ///
    /// # Errors
    ///
    /// - The error of `media`.
    pub fn retire(sequence: u64, media: &mut dyn Media, superblock: &Superblock) -> io::Result<()> {
        for sequence in [sequence + 1, sequence + 2] {
            let slot = sequence % SLOTS;
            // Write the whole slot, because that clears its bad blocks.
            let mut bytes = vec![0; superblock.geometry.slot_size()];

            Header {
                magic: Magic::Journal,
                uuid: superblock.uuid,
                address: slot,
                sequence,
            }
            .seal(&mut bytes[..Transaction::size(0)], checksum);
            for copy in 0..COPIES {
                media.write(superblock.geometry.slot(copy, slot), &bytes)?;
            }
            media.sync()?;
        }
        Ok(())
    }
}

/// The transaction in a slot; [`None`] if it is incomplete or of another filesystem.
///
/// # Errors
///
/// - A message if it is complete but wrong.
fn parse(bytes: &[u8], superblock: &Superblock, slot: u64) -> Result<Option<Found>, String> {
    let Some((count, size)) = Transaction::count(bytes) else {
        return Ok(None);
    };
    let header = match Header::open(&bytes[..size], Magic::Journal, slot, checksum) {
        Ok(header) => header,
        Err(Fault::Value) => return Err("the number of its transaction is out of range".into()),
        Err(_) => return Ok(None),
    };

    if header.uuid != superblock.uuid {
        return Ok(None);
    }
    if header.sequence % SLOTS != slot {
        return Err(format!(
            "transaction {} does not belong in this slot",
            header.sequence
        ));
    }
    if let Some(index) = Transaction::misplaced(bytes, count) {
        return Err(format!(
            "unit {index} of its transaction is not in the metadata"
        ));
    }

    let units = (0..count)
        .filter_map(|index| Transaction::unit(bytes, count, index))
        .map(|(address, unit)| {
            let logged = Logged {
                sequence: header.sequence,
                unit: address % UNITS,
                bytes: *unit,
            };

            (address / UNITS, logged)
        })
        .collect();

    Ok(Some(Found {
        sequence: header.sequence,
        units,
    }))
}

const _: () = assert!(UNITS as usize * UNIT_SIZE == BLOCK_SIZE);
