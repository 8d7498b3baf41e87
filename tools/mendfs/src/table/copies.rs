// SPDX-License-Identifier: GPL-2.0

//! Reads a metadata block: replays the journal in both copies, and chooses the newer one.

use crate::checksum;
use crate::format::{Block, Chunk, Fault, Superblock, COPIES, UNIT_SIZE};
use crate::journal::Journal;
use crate::media::Media;

/// The result of comparing the copies of a block.
pub(super) struct Choice {
    /// The block; [`None`] if it has no good copy.
    pub(super) block: Option<Box<Block>>,
    /// The last transaction that changed the block.
    pub(super) sequence: u64,
    /// What is wrong with each copy.
    pub(super) faults: [Option<String>; COPIES as usize],
    /// Whether the journal has changes that are not written to both copies.
    pub(super) needs_replay: bool,
    /// Whether a copy can be read but is invalid.
    pub(super) has_invalid_copy: bool,
}

/// Compares the copies of a block, and chooses the one with the newest transaction.
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
    let mut has_invalid_copy = false;
    let raw = |copy: u64| media.read_block(chunk.place(&superblock.geometry, copy, number));

    for copy in 0..COPIES {
        let raw = raw(copy);
        let is_readable = raw.is_ok();

        match raw.map_err(|e| e.to_string()).and_then(|raw| {
            replayed(&raw, superblock, journal, chunk, number).map_err(|fault| fault.to_string())
        }) {
            Err(what) => {
                has_invalid_copy |= is_readable;
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

    let is_outdated = |copy: u64| {
        raw(copy).is_ok_and(|raw| best.as_ref().is_some_and(|(_, block)| raw != *block))
    };
    let needs_replay = journal.units.contains_key(&number) && (0..COPIES).any(is_outdated);

    for (fault, copy) in faults.iter_mut().zip(&copies) {
        let best = best.as_ref().map(|(_, block)| block);

        if copy.is_some() && copy.as_ref() != best {
            *fault = Some("it differs from the other copy".into());
        }
    }

    Choice {
        sequence: best.as_ref().map_or(0, |(sequence, _)| *sequence),
        block: best.map(|(_, block)| block),
        faults,
        needs_replay,
        has_invalid_copy,
    }
}

/// Replays the journal in a copy of a block. Returns the block and the last transaction that
/// changed it.
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
    // A good copy contains all transactions up to its sequence. A bad copy needs all transactions
    // of the journal.
    let applied = sequence.unwrap_or(0);
    let units = journal.units.get(&number).into_iter().flatten();
    let mut is_changed = false;

    for logged in units.filter(|logged| logged.sequence > applied) {
        let start = logged.unit as usize * UNIT_SIZE;

        block[start..start + UNIT_SIZE].copy_from_slice(&logged.bytes);
        is_changed = true;
    }
    if is_changed {
        sequence = open(&block);
    }
    Ok((sequence?, block))
}
