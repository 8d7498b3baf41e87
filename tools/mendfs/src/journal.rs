// SPDX-License-Identifier: GPL-2.0

//! Reads the journal, and takes it out of action.

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
    /// The transaction.
    pub sequence: u64,
    /// The number of the unit in its block.
    pub unit: u64,
    /// What it is then.
    pub bytes: [u8; UNIT_SIZE],
}

/// A transaction that was found: its units, by metadata block.
struct Found {
    sequence: u64,
    units: Vec<(u64, Logged)>,
}

/// What the journal says.
#[derive(Default)]
pub struct Journal {
    /// The newest transaction; 0 if there is none.
    pub sequence: u64,
    /// Units that may not be in place yet, by metadata block, the oldest first.
    pub units: BTreeMap<u64, Vec<Logged>>,
    /// Whether something is wrong with it, so that it is to be written anew.
    pub is_damaged: bool,
}

impl Journal {
    /// Reads the journal: its newest transaction, and the one right before that.
    pub fn read(media: &dyn Media, superblock: &Superblock, report: &mut Report) -> Self {
        let mut journal = Self::default();
        let mut found: Vec<Found> = (0..SLOTS)
            .filter_map(|slot| journal.read_slot(media, superblock, slot, report))
            .collect();

        found.sort_by_key(|found| found.sequence);
        journal.sequence = found.last().map_or(0, |found| found.sequence);
        for Found { sequence, units } in found {
            // What is older has been in place since before the newest was written.
            if sequence + 1 < journal.sequence {
                continue;
            }
            for (block, unit) in units {
                journal.units.entry(block).or_default().push(unit);
            }
        }
        journal
    }

    /// The newest transaction of a slot that is whole in one of the copies. After a crash the
    /// others may be half written.
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

    /// Takes the journal out of action: two empty transactions come behind the newest, so that
    /// nothing is replayed over what is repaired now. The older one's slot goes first, so that the
    /// newest counts as long as there is none behind it.
    ///
    /// # Errors
    ///
    /// - What the media fails with.
    pub fn retire(sequence: u64, media: &mut dyn Media, superblock: &Superblock) -> io::Result<()> {
        for sequence in [sequence + 1, sequence + 2] {
            let slot = sequence % SLOTS;
            // All of it is written: a bad block becomes good by that.
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

/// The transaction in a slot; [`None`] if none is whole. What is whole but wrong is an error.
fn parse(bytes: &[u8], superblock: &Superblock, slot: u64) -> Result<Option<Found>, String> {
    let Some((count, size)) = Transaction::count(bytes) else {
        return Ok(None);
    };
    let header = match Header::open(&bytes[..size], Magic::Journal, slot, checksum) {
        Ok(header) => header,
        Err(Fault::Value) => return Err("a transaction that there cannot be".into()),
        Err(_) => return Ok(None),
    };

    if header.uuid != superblock.uuid {
        return Ok(None);
    }
    if header.sequence % SLOTS != slot {
        return Err(format!("transaction {} has no place here", header.sequence));
    }
    if let Some(index) = Transaction::misplaced(bytes, count) {
        return Err(format!(
            "unit {index} of its transaction cannot be metadata"
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
