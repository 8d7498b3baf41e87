// SPDX-License-Identifier: GPL-2.0

//! Chunks of the metadata, their blocks, and the link from each chunk to the next.

use mendfs::checksum;
use mendfs::format::{
    Chunk, Fault, Geometry, Record, Secret, Superblock, BLOCK_SIZE, CHUNK_BLOCKS, LAST_SEQUENCE,
    MAX_METADATA, UNITS, UNIT_SIZE,
};
use proptest::prelude::*;

use super::strategies::{chunk, geometry};

proptest! {
    #[test]
    fn chunks_follow_each_other(geometry in geometry(), number in 0..1000_u64) {
        let blocks = geometry.chunk_blocks(number);

        prop_assert_eq!(geometry.chunk_blocks(number + 1).start, blocks.end);
        for block in blocks.clone() {
            prop_assert_eq!(geometry.chunk_of(block), number);
        }
        prop_assert_eq!(geometry.link_address(number), blocks.end * UNITS - 1);
    }

    #[test]
    fn blocks_are_opened_only_as_sealed(
        chunk in chunk(),
        (uuid, secret) in any::<([u8; 16], [u8; 16])>(),
        distance in 0..CHUNK_BLOCKS,
        (sequence, flipped, bit) in (0..=LAST_SEQUENCE, 0..16_usize, 0..8_u32),
    ) {
        let geometry = Geometry::of_device(1 << 36).expect("it fits");
        let superblock = Superblock {
            uuid,
            geometry,
            label: [0; 32],
            secret: Secret(secret),
            mount_uuid: uuid,
        };
        let number = geometry.chunk_blocks(chunk.number).start + distance;
        let mut block = [0x11; BLOCK_SIZE];

        chunk.seal(&superblock, number, sequence, &mut block, checksum);
        prop_assert_eq!(chunk.open(&superblock, number, &block, checksum), Ok(sequence));
        prop_assert_eq!(Chunk::from_header(&geometry, &block), chunk);
        prop_assert_eq!(
            chunk.open(&superblock, number + 1, &block, checksum),
            Err(Fault::Address)
        );

        let elsewhere = Chunk { copies: [chunk.copies[0], chunk.copies[1] + 16], ..chunk };

        prop_assert_eq!(
            elsewhere.open(&superblock, number, &block, checksum),
            Err(Fault::Address)
        );

        let mut other = superblock;

        other.secret.0[flipped] ^= 1 << bit;
        prop_assert_eq!(chunk.open(&other, number, &block, checksum), Err(Fault::Foreign));
    }

    #[test]
    fn links_are_checked(
        geometry in geometry(),
        (number, next) in (0..9_u64, 0..12_u64),
        copies: [u64; 2],
        is_near: bool,
    ) {
        let copies = match is_near {
            true => copies.map(|start| start % 4096 / CHUNK_BLOCKS * CHUNK_BLOCKS),
            false => copies,
        };
        let chunk = Chunk { number: next, copies };
        let mut unit = [0; UNIT_SIZE];

        Record::Chunk(chunk).write(0, &mut unit);

        let data = geometry.data();
        let is_inside = |start: &u64| {
            *start >= data.start && start.checked_add(CHUNK_BLOCKS).is_some_and(|e| e <= data.end)
        };
        let is_right = next > number
            && geometry.is_valid_chunk(next)
            && copies[0] < copies[1]
            && copies.iter().all(|start| start % CHUNK_BLOCKS == 0)
            && copies.iter().all(is_inside);

        prop_assert_eq!(
            geometry.next_chunk(number, &unit),
            if is_right { Ok(Some(chunk)) } else { Err(Fault::Value) }
        );
        prop_assert_eq!(geometry.next_chunk(number, &[0; UNIT_SIZE]), Ok(None));

        // A chunk must not belong to an inode.
        Record::Chunk(chunk).write(1, &mut unit);
        prop_assert!(geometry.next_chunk(number, &unit).is_err());
    }
}

#[test]
fn chunks_have_limits() {
    let geometry = Geometry::new(1 << 36, 8, 16).expect("it fits");
    let last = MAX_METADATA / CHUNK_BLOCKS - 1;

    assert!(geometry.is_valid_chunk(last));
    assert!(!geometry.is_valid_chunk(last + 1));
    assert!(!geometry.is_valid_chunk(u64::MAX));

    // The data has 515 blocks: space for 16 chunks of 2 * 16 blocks.
    let small = Geometry::new(1040, 8, 4).expect("it fits");

    assert!(small.is_valid_chunk(16));
    assert!(!small.is_valid_chunk(17));
}
