// SPDX-License-Identifier: GPL-2.0

//! What the copies of a metadata block say together, with what the journal has for them.

use crate::checksum;
use crate::format::{Block, Chunk, Fault, Superblock, COPIES, UNIT_SIZE};
use crate::journal::Journal;
use crate::media::Media;

/// What the copies of a block say.
pub(super) struct Choice {
    /// The block; [`None`] if it is lost.
    pub(super) block: Option<Box<Block>>,
    pub(super) sequence: u64,
    /// What is wrong with each copy.
    pub(super) faults: [Option<String>; COPIES as usize],
    /// Whether the journal has something that is not in place.
    pub(super) is_behind: bool,
    /// Whether a copy can be read, and is not that of the block.
    pub(super) is_something_else: bool,
}

/// Compares the copies of a block. That of the newest transaction is the block.
pub(super) fn choose(
    media: &dyn Media,
    superblock: &Superblock,
    journal: &Journal,
    chunk: &Chunk,
    number: u64,
) -> Choice {
    let mut best: Option<(u64, Box<Block>)> = None;
    let mut copies = [const { None }; COPIES as usize];
    let mut faults = [const { None }; COPIES as usize];
    let mut is_something_else = false;
    let raw = |copy: u64| media.read_block(chunk.place(&superblock.geometry, copy, number));

    for copy in 0..COPIES {
        let raw = raw(copy);
        let is_readable = raw.is_ok();

        match raw.map_err(|e| e.to_string()).and_then(|raw| {
            replayed(&raw, superblock, journal, chunk, number).map_err(|fault| fault.to_string())
        }) {
            Err(what) => {
                is_something_else |= is_readable;
                faults[copy as usize] = Some(what);
            }
            Ok((sequence, block)) => {
                if best.as_ref().is_none_or(|(best, _)| *best < sequence) {
                    best = Some((sequence, block.clone()));
                }
                copies[copy as usize] = Some(block);
            }
        }
    }

    let is_behind = |copy: u64| {
        raw(copy).is_ok_and(|raw| best.as_ref().is_some_and(|(_, block)| raw != *block))
    };
    let is_behind = journal.units.contains_key(&number) && (0..COPIES).any(is_behind);

    for (fault, copy) in faults.iter_mut().zip(&copies) {
        let best = best.as_ref().map(|(_, block)| block);

        if copy.is_some() && copy.as_ref() != best {
            *fault = Some("it is not what the other copy is".into());
        }
    }

    Choice {
        sequence: best.as_ref().map_or(0, |(sequence, _)| *sequence),
        block: best.map(|(_, block)| block),
        faults,
        is_behind,
        is_something_else,
    }
}

/// A copy of a block with what the journal has for it, and the transaction that has last changed
/// it.
fn replayed(
    raw: &Block,
    superblock: &Superblock,
    journal: &Journal,
    chunk: &Chunk,
    number: u64,
) -> Result<(u64, Box<Block>), Fault> {
    let open = |block: &Block| chunk.open(superblock, number, block, checksum);
    let mut block = Box::new(*raw);
    let mut sequence = open(raw);
    // What a whole block has been through it has in it.
    let has = sequence.unwrap_or(0);
    let units = journal.units.get(&number).into_iter().flatten();
    let mut is_changed = false;

    for logged in units.filter(|logged| logged.sequence > has) {
        let start = logged.unit as usize * UNIT_SIZE;

        block[start..start + UNIT_SIZE].copy_from_slice(&logged.bytes);
        is_changed = true;
    }
    if is_changed {
        sequence = open(&block);
    }
    Ok((sequence?, block))
}
