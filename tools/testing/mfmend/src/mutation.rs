// SPDX-License-Identifier: GPL-2.0

//! Random changes of a populated image.

use mendfs::checksum;
use mendfs::format::{Block, BLOCK_SIZE, CHUNK_BLOCKS, COPIES, ROOT, UNITS, UNIT_SIZE};
use mendfs::media::Media;

use crate::image::{
    Image, BLOCKS, CLONE, DIRECTORY, FIFO, FILE, FIRST_BLOCKS, INNER, LINK, SECOND_ATTRIBUTE,
};
use crate::random::Random;

/// The number of units after unit 0 of a block from which `Change::new()` mostly picks. Most of
/// them contain records in block 0.
const USED: u64 = 30;

/// A change to a metadata block.
enum Change {
    Flip { at: usize, bit: u64 },
    Number { at: usize, value: u64 },
    Byte { at: usize, value: u8 },
    Copy { from: usize, to: usize },
    Zero { unit: usize },
}

impl Change {
    fn new(random: &mut Random) -> Self {
        let unit = match random.below(16) {
            0..3 => random.below(UNITS),
            // The unit with the record of the next chunk.
            3 => UNITS - 1,
            _ => 1 + random.below(USED),
        } as usize
            * UNIT_SIZE;
        let at = unit + random.below(UNIT_SIZE as u64) as usize;
        let value = number(random);

        match random.below(8) {
            0..3 => Self::Flip {
                at,
                bit: random.below(8),
            },
            3 | 4 => Self::Number { at: at & !7, value },
            5 => Self::Copy {
                from: random.below(UNITS) as usize * UNIT_SIZE,
                to: unit,
            },
            6 => Self::Zero { unit },
            _ => Self::Byte {
                at,
                value: value as u8,
            },
        }
    }

    fn apply(&self, block: &mut [u8]) {
        match *self {
            Self::Flip { at, bit } => block[at] ^= 1 << bit,
            Self::Number { at, value } => block[at..at + 8].copy_from_slice(&value.to_le_bytes()),
            Self::Byte { at, value } => block[at] = value,
            Self::Copy { from, to } => block.copy_within(from..from + UNIT_SIZE, to),
            Self::Zero { unit } => block[unit..unit + UNIT_SIZE].fill(0),
        }
    }
}

/// A number that is often a valid address, inode, block or limit.
fn number(random: &mut Random) -> u64 {
    let wild = random.any();

    match random.below(6) {
        0 => random.pick(&[0, 1, u64::MAX, 1 << 62, 1 << 63, 1 << 36, 255, BLOCKS]),
        1 => random.pick(&[ROOT, DIRECTORY, FILE, CLONE, LINK, INNER, FIFO]),
        2 => random.below((FIRST_BLOCKS + CHUNK_BLOCKS) * UNITS),
        3 => random.below(BLOCKS),
        4 => wild,
        _ => wild >> random.below(64),
    }
}

/// Makes a random change outside the data. Most changes update the checksum.
pub fn mutate(image: &mut Image, random: &mut Random) {
    match random.below(28) {
        0..20 => change_both(image, random),
        20 => change_one(image, random),
        21 | 22 => flip_any(image, random),
        23 => zero_any(image, random),
        24 => log_any(image, random),
        25 => log_change(image, random),
        26 => move_block(image, random),
        _ => change_superblock(image, random),
    }
}

/// The number of a metadata block, often of one with many records.
fn any_number(random: &mut Random) -> u64 {
    match random.below(12) {
        0..6 => 0,
        6 | 7 => 1,
        8 => FIRST_BLOCKS - 1,
        9 => SECOND_ATTRIBUTE / UNITS,
        _ => random.below(FIRST_BLOCKS + CHUNK_BLOCKS),
    }
}

/// Makes the same change in both copies of a metadata block.
fn change_both(image: &mut Image, random: &mut Random) {
    let number = any_number(random);
    let change = Change::new(random);

    image.edit(number, |block| change.apply(block));
}

fn change_one(image: &mut Image, random: &mut Random) {
    let change = Change::new(random);
    let (copy, number) = (random.below(COPIES), any_number(random));

    image.edit_copy(copy, number, random.below(10), |block| change.apply(block));
}

/// A random block of the device that is not data.
fn any_block(image: &Image, random: &mut Random) -> u64 {
    let geometry = &image.superblock.geometry;
    let copy = random.below(COPIES);

    match random.below(6) {
        0 => geometry.superblock(copy),
        1 | 2 => geometry.slot(copy, 0) + random.below(geometry.journal_blocks()),
        _ => image.place(copy, any_number(random)),
    }
}

fn flip_any(image: &mut Image, random: &mut Random) {
    let block = any_block(image, random);

    image.flip(block, random.below(BLOCK_SIZE as u64) as usize);
}

fn zero_any(image: &mut Image, random: &mut Random) {
    let block = any_block(image, random);

    write(image, block, &[0; BLOCK_SIZE]);
}

fn read(image: &Image, block: u64) -> Box<Block> {
    image.media.read_block(block).expect("memory is good")
}

fn write(image: &mut Image, block: u64, bytes: &Block) {
    image.media.write(block, bytes).expect("memory is good");
}

/// Logs a transaction with random contents.
fn log_any(image: &mut Image, random: &mut Random) {
    let address = number(random) % ((FIRST_BLOCKS + CHUNK_BLOCKS + 2) * UNITS);
    let mut unit = [0; UNIT_SIZE];

    unit[random.below(UNIT_SIZE as u64) as usize] = random.any() as u8;
    image.log(
        number(random) % 12,
        random.below(COPIES),
        &[(address, unit)],
    );
}

/// Logs a transaction that changes a metadata block and its header.
fn log_change(image: &mut Image, random: &mut Random) {
    let block = any_number(random);
    let sequence = 1 + random.below(10);
    let change = Change::new(random);
    let mut bytes = read(image, image.place(0, block));
    let chunk = image.chunk_of(block);

    change.apply(bytes.as_mut_slice());
    chunk.seal(&image.superblock, block, sequence, &mut bytes, checksum);

    let units: Vec<_> = (block * UNITS..)
        .zip(bytes.chunks_exact(UNIT_SIZE))
        .filter_map(|(address, unit)| Some((address, *unit.first_chunk()?)))
        .collect();

    for copy in 0..COPIES {
        image.log(sequence, copy, &units);
    }
}

/// Overwrites a block with another one.
fn move_block(image: &mut Image, random: &mut Random) {
    let from = read(image, any_block(image, random));
    let to = any_block(image, random);

    write(image, to, &from);
}

fn change_superblock(image: &mut Image, random: &mut Random) {
    let at = image.superblock.geometry.superblock(random.below(COPIES));
    let mut block = read(image, at);

    if random.once_in(2) {
        block[4 + random.below(100) as usize] ^= 1 << random.below(8);
    } else {
        let field = 40 + 8 * random.below(4) as usize;

        block[field..field + 8].copy_from_slice(&number(random).to_le_bytes());
    }

    let sum = checksum(&block[4..]);

    block[..4].copy_from_slice(&sum.to_le_bytes());
    write(image, at, &block);
}
