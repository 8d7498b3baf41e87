// SPDX-License-Identifier: GPL-2.0

//! Makes a filesystem.

use std::io;
use std::ops::Range;

use crate::checksum;
use crate::format::{
    Geometry, Inode, Record, Superblock, Time, BLOCK_SIZE, COPIES, ROOT, UNIT_SIZE,
};
use crate::media::Media;

/// Metadata blocks in one write.
const PIECE: u64 = 256;

/// Blocks that are zeroed at each end, so that no tool finds an old superblock: 64 KiB, because no
/// other filesystem has its superblock farther from the ends.
const WIPED: u64 = 16;

/// Makes the filesystem `superblock` on `media`. Calls `progress` with the number of metadata
/// blocks that are written, and the number of all.
///
/// It writes the superblocks last: until then there is neither an old nor a new filesystem.
///
/// # Errors
///
/// - The error of `media`.
pub fn make(
    media: &mut dyn Media,
    superblock: &Superblock,
    now: Time,
    mut progress: impl FnMut(u64, u64),
) -> io::Result<()> {
    let geometry = &superblock.geometry;
    let blocks = geometry.metadata_blocks();
    let total = blocks * COPIES;

    wipe(media, geometry)?;
    for copy in 0..COPIES {
        let journal = vec![0; geometry.journal_blocks() as usize * BLOCK_SIZE];

        media.write(geometry.slot(copy, 0), &journal)?;
        for start in (0..blocks).step_by(PIECE as usize) {
            let end = blocks.min(start + PIECE);

            media.write(
                geometry.first_chunk().place(geometry, copy, start),
                &metadata(superblock, start..end, now),
            )?;
            progress(copy * blocks + end, total);
        }
    }
    media.sync()?;

    let mut block = [0; BLOCK_SIZE];

    superblock.write(&mut block, checksum);
    for copy in 0..COPIES {
        media.write(geometry.superblock(copy), &block)?;
    }
    media.sync()
}

fn wipe(media: &mut dyn Media, geometry: &Geometry) -> io::Result<()> {
    let zeroes = vec![0; WIPED as usize * BLOCK_SIZE];

    // `end - WIPED` does not underflow, because every geometry has more blocks. If the device is
    // longer than the filesystem, an old filesystem can have a superblock at the end of the device.
    for end in [WIPED, geometry.blocks(), media.blocks()] {
        media.write(end - WIPED, &zeroes)?;
    }
    media.sync()
}

/// The metadata blocks `numbers` of a new filesystem, all in the first chunk.
fn metadata(superblock: &Superblock, numbers: Range<u64>, now: Time) -> Vec<u8> {
    let chunk = superblock.geometry.first_chunk();
    let mut bytes = Vec::new();

    for number in numbers {
        let mut block = [0; BLOCK_SIZE];

        if number == 0 {
            Record::Inode(root(now)).write(ROOT, &mut block[UNIT_SIZE..3 * UNIT_SIZE]);
        }
        chunk.seal(superblock, number, 0, &mut block, checksum);
        bytes.extend_from_slice(&block);
    }
    bytes
}

/// The root directory of a new filesystem.
pub fn root(now: Time) -> Inode {
    Inode {
        mode: Inode::DIRECTORY | 0o755,
        links: 2,
        parent: ROOT,
        accessed: now,
        modified: now,
        changed: now,
        created: now,
        generation: 1,
        ..Inode::default()
    }
}
