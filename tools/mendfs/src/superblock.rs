// SPDX-License-Identifier: GPL-2.0

//! Finds and changes the superblock.

use std::io;

use crate::checksum;
use crate::device;
use crate::format::{Block, Superblock, BLOCK_SIZE, COPIES};
use crate::media::{FileMedia, Media};
use crate::report::{Class, Report};

/// Metadata blocks that are read to decide between two superblocks.
const PROBED: u64 = 8;

/// Finds the superblock on a device, which can be mounted. Returns the superblock and the number of
/// blocks of the device.
///
/// # Errors
///
/// - A message with the device if it cannot be opened, or has no superblock.
pub fn on_device(device: &str) -> Result<(Superblock, u64), String> {
    let found = || {
        let media = FileMedia::new(device::open(device, false)?).map_err(|e| e.to_string())?;

        Ok((find(&media, &mut Report::default())?, media.blocks()))
    };

    found().map_err(|error: String| format!("{device}: {error}"))
}

/// Finds the superblock, and reports the damage of its copies.
///
/// # Errors
///
/// - A message if there is no superblock.
pub fn find(media: &dyn Media, report: &mut Report) -> Result<Superblock, String> {
    let last = media.blocks().checked_sub(1).ok_or("it is empty")?;
    let first = read(media, 0);
    // If the device has grown, the second superblock is not in its last block.
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
            [(_, what)] => format!("no superblock is usable: {what}"),
            _ => {
                let why: Vec<_> = why
                    .iter()
                    .map(|(copy, what)| format!("copy {copy}: {what}"))
                    .collect();

                format!("no superblock is usable: {}", why.join("; "))
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
            (_, Ok(other)) if other.differs_in_names_only(superblock) => (
                Class::Note,
                "its label or mount UUID is outdated; the next mount updates it".into(),
            ),
            _ => (
                Class::Damage,
                "it is not a superblock of this filesystem".into(),
            ),
        };

        report.add(class, format!("superblock {copy}"), what);
    }
    if let Some((block, left)) = find_interrupted_growth(media, superblock) {
        report.add(
            Class::Note,
            format!("block {block}"),
            format!(
                "superblock of an interrupted growth to {} blocks; the next mount clears it",
                left.geometry.blocks()
            ),
        );
    }
}

/// Returns the last block of the device and the superblock in it, if the block is after the end of
/// the filesystem and the superblock has its UUID.
fn find_interrupted_growth(
    media: &dyn Media,
    superblock: &Superblock,
) -> Option<(u64, Superblock)> {
    let last = media.blocks().checked_sub(1)?;
    let left = read(media, last).ok()?;

    (last >= superblock.geometry.blocks() && left.uuid == superblock.uuid).then_some((last, left))
}

/// Clears the superblock that an interrupted growth has left in the last block of the device. Both
/// copies of `superblock` must be good before.
///
/// # Errors
///
/// - The error of `media`.
pub fn clear_growth(media: &mut dyn Media, superblock: &Superblock) -> io::Result<()> {
    match find_interrupted_growth(media, superblock) {
        Some((block, _)) => media.write(block, &[0; BLOCK_SIZE]),
        None => Ok(()),
    }
}

/// Changes the label or the mount UUID, in one copy of the superblock after the other. If both
/// copies are good and differ in label or mount UUID, the first copy is used.
///
/// # Errors
///
/// - A message if there is no superblock, or if a copy cannot be written.
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

/// The block that contains a superblock.
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
            "the filesystem has {} blocks, but the device has {}",
            superblock.geometry.blocks(),
            media.blocks()
        ));
    }
    Ok(superblock)
}

/// Counts the copies of the first metadata blocks that belong to the filesystem of `superblock`.
fn score(media: &dyn Media, superblock: &Superblock) -> u64 {
    let geometry = &superblock.geometry;
    let chunk = geometry.first_chunk();
    let is_own = |copy, number| {
        media
            .read_block(chunk.place(geometry, copy, number))
            .is_ok_and(|bytes| chunk.open(superblock, number, &bytes, checksum).is_ok())
    };

    (0..PROBED.min(geometry.metadata_blocks()))
        .map(|number| (0..COPIES).filter(|copy| is_own(*copy, number)).count() as u64)
        .sum()
}
