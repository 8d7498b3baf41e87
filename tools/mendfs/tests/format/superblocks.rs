// SPDX-License-Identifier: GPL-2.0

//! Superblocks: only those of the current version are accepted.

use mendfs::checksum;
use mendfs::format::{
    Block, Fault, Geometry, Header, Magic, Secret, Superblock, BLOCK_SIZE, VERSION,
};
use proptest::collection::vec;
use proptest::prelude::*;

use super::strategies::geometry;

proptest! {
    #[test]
    fn any_block_is_read(bytes in vec(any::<u8>(), BLOCK_SIZE), sizes: [u64; 3]) {
        let mut block: Block = bytes.try_into().expect("it is a block");

        let _ = Superblock::read(&block, checksum);
        block[40..48].copy_from_slice(&u64::from(VERSION).to_le_bytes());
        for (at, size) in [48, 56, 64].into_iter().zip(sizes) {
            block[at..at + 8].copy_from_slice(&size.to_le_bytes());
        }
        Header { magic: Magic::Super, uuid: [1; 16], address: 0, sequence: 0 }
            .seal(&mut block, checksum);
        if let Ok(superblock) = Superblock::read(&block, checksum) {
            prop_assert!(!superblock.geometry.data().is_empty());
        }
    }

    #[test]
    fn superblocks_are_read_as_written(
        geometry in geometry(),
        (uuid, mount_uuid, secret) in any::<([u8; 16], [u8; 16], [u8; 16])>(),
        label: [u8; 32],
    ) {
        let superblock = Superblock {
            uuid,
            geometry,
            label,
            secret: Secret(secret),
            mount_uuid,
        };
        let mut block = [0xff; BLOCK_SIZE];

        superblock.write(&mut block, checksum);
        prop_assert_eq!(Superblock::read(&block, checksum), Ok(superblock));
    }
}

fn seal_superblock(block: &mut [u8; BLOCK_SIZE]) {
    Header {
        magic: Magic::Super,
        uuid: [1; 16],
        address: 0,
        sequence: 0,
    }
    .seal(block, checksum);
}

#[test]
fn other_versions_are_refused_with_advice() {
    let superblock = Superblock {
        uuid: [1; 16],
        geometry: Geometry::of_device(4096).expect("it fits"),
        label: [0; 32],
        secret: Secret([2; 16]),
        mount_uuid: [1; 16],
    };
    let mut block = [0; BLOCK_SIZE];

    superblock.write(&mut block, checksum);
    for version in [0, 1, 3, u32::MAX] {
        block[40..44].copy_from_slice(&version.to_le_bytes());
        seal_superblock(&mut block);

        let fault = Superblock::read(&block, checksum).expect_err("it is of another version");

        assert_eq!(fault, Fault::Version(version));
        assert!(fault.to_string().contains(&format!("version {version}, ")));
        assert!(fault
            .to_string()
            .contains("copy the files with the mendfs of that version"));
    }
}

#[test]
fn unknown_features_are_refused() {
    let mut block = [0; BLOCK_SIZE];

    block[40..44].copy_from_slice(&VERSION.to_le_bytes());
    block[127] = 0x80;
    seal_superblock(&mut block);

    let fault = Superblock::read(&block, checksum).expect_err("it has a feature");

    assert_eq!(fault, Fault::Features(1 << 63));
    assert!(fault.to_string().contains("0x8000000000000000"));
}

#[test]
fn secret_is_not_shown() {
    assert!(!format!("{:?}", Secret([0x42; 16])).contains(|c: char| c.is_ascii_digit()));
}
