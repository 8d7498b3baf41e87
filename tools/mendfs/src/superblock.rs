// SPDX-License-Identifier: GPL-2.0

//! Finds the superblock.

use std::io;

use crate::checksum;
use crate::device;
use crate::format::{Block, Superblock, BLOCK_SIZE, COPIES};
use crate::media::{FileMedia, Media};
use crate::report::{Class, Report};

/// Blocks of the metadata that are looked at to tell which of two superblocks is right.
const PROBED: u64 = 8;

/// Finds the superblock on a device that may be mounted. Returns it, and how many blocks the device
/// has.
///
/// # Errors
///
/// - A sentence with the device if it cannot be opened, or there is no superblock.
pub fn on_device(device: &str) -> Result<(Superblock, u64), String> {
    let found = || {
        let media = FileMedia::new(device::open(device, false)?).map_err(|e| e.to_string())?;

        Ok((find(&media, &mut Report::default())?, media.blocks()))
    };

    found().map_err(|error: String| format!("{device}: {error}"))
}

/// Finds the superblock, and reports what is wrong with its copies.
///
/// # Errors
///
/// - A sentence if there is none.
pub fn find(media: &dyn Media, report: &mut Report) -> Result<Superblock, String> {
    let last = media.blocks().checked_sub(1).ok_or("it is empty")?;
    let first = read(media, 0);
    // The device may have grown since.
    let other = match &first {
        Ok(first) => first.geometry.superblock(1),
        Err(_) => last,
    };
    let mut candidates = vec![(0, first.clone()), (1, read(media, other))];

    if other != last {
        candidates.push((1, read(media, last)));
    }

    let mut found: Option<(u64, Superblock)> = None;

    for (_, candidate) in &candidates {
        let Ok(candidate) = candidate else {
            continue;
        };
        let score = score(media, candidate);

        if found.as_ref().is_none_or(|(best, _)| score > *best) {
            found = Some((score, *candidate));
        }
    }

    let Some((_, found)) = found else {
        let mut why: Vec<_> = candidates
            .into_iter()
            .filter_map(|(copy, candidate)| Some((copy, candidate.err()?)))
            .collect();

        why.dedup_by(|(_, one), (_, other)| one == other);
        return Err(match why.as_slice() {
            [(_, what)] => format!("no superblock that can be used: {what}"),
            _ => {
                let why: Vec<_> = why
                    .iter()
                    .map(|(copy, what)| format!("{copy}: {what}"))
                    .collect();

                format!("no superblock: {}", why.join("; "))
            }
        });
    };

    compare(media, &found, report);
    Ok(found)
}

fn compare(media: &dyn Media, superblock: &Superblock, report: &mut Report) {
    let wanted = image(superblock);

    for copy in 0..COPIES {
        let block = superblock.geometry.superblock(copy);
        let (class, what) = match (media.read_block(block), read(media, block)) {
            (Ok(bytes), _) if bytes == wanted => continue,
            (_, Err(what)) => (Class::Damage, what),
            (_, Ok(other)) if other.is_same_but_named(superblock) => (
                Class::Note,
                "it has another label or UUID for mounting; the next mount writes it".into(),
            ),
            _ => (Class::Damage, "it is not that of this filesystem".into()),
        };

        report.add(class, format!("superblock {copy}"), what);
    }
    if let Some((block, left)) = left_of_growth(media, superblock) {
        report.add(
            Class::Note,
            format!("block {block}"),
            format!(
                "left of a growth to {} blocks that was interrupted; the next mount clears it",
                left.geometry.blocks()
            ),
        );
    }
}

/// The last block of the device, if it is behind the filesystem and has a superblock of it.
fn left_of_growth(media: &dyn Media, superblock: &Superblock) -> Option<(u64, Superblock)> {
    let last = media.blocks().checked_sub(1)?;
    let left = read(media, last).ok()?;

    (last >= superblock.geometry.blocks() && left.uuid == superblock.uuid).then_some((last, left))
}

/// Clears what a growth that was interrupted has left. All copies of the superblock are whole.
///
/// # Errors
///
/// - What the media fails with.
pub fn clear_growth(media: &mut dyn Media, superblock: &Superblock) -> io::Result<()> {
    match left_of_growth(media, superblock) {
        Some((block, _)) => media.write(block, &[0; BLOCK_SIZE]),
        None => Ok(()),
    }
}

/// Changes what the owner may change of the superblock: one copy after the other. If both are whole
/// and differ in that, the first one counts.
///
/// # Errors
///
/// - A sentence if there is none, or if a copy cannot be written.
pub fn change(media: &mut dyn Media, change: impl FnOnce(&mut Superblock)) -> Result<(), String> {
    let mut superblock = find(media, &mut Report::default())?;

    change(&mut superblock);

    let image = image(&superblock);

    for copy in 0..COPIES {
        let block = superblock.geometry.superblock(copy);

        media
            .write(block, image.as_slice())
            .and_then(|()| media.sync())
            .map_err(|e| format!("superblock {copy}: {e}"))?;
    }
    Ok(())
}

/// A superblock as it is on the media.
pub fn image(superblock: &Superblock) -> Box<Block> {
    let mut block = Box::new([0; BLOCK_SIZE]);

    superblock.write(&mut block, checksum);
    block
}

fn read(media: &dyn Media, block: u64) -> Result<Superblock, String> {
    let bytes = media.read_block(block).map_err(|e| e.to_string())?;
    let superblock = Superblock::read(&bytes, checksum).map_err(|fault| fault.to_string())?;

    if superblock.geometry.blocks() > media.blocks() {
        return Err(format!(
            "the filesystem has {} blocks, the device {}",
            superblock.geometry.blocks(),
            media.blocks()
        ));
    }
    Ok(superblock)
}

/// How many of the first metadata blocks are of this filesystem.
fn score(media: &dyn Media, superblock: &Superblock) -> u64 {
    let geometry = &superblock.geometry;
    let chunk = geometry.first_chunk();
    let is_ours = |copy, number| {
        media
            .read_block(chunk.place(geometry, copy, number))
            .is_ok_and(|bytes| chunk.open(superblock, number, &bytes, checksum).is_ok())
    };

    (0..PROBED.min(geometry.metadata_blocks()))
        .map(|number| (0..COPIES).filter(|copy| is_ours(*copy, number)).count() as u64)
        .sum()
}
