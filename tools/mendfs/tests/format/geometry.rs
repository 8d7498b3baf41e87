// SPDX-License-Identifier: GPL-2.0

//! The geometry: the places of all structures on a device, and the valid sizes.

use mendfs::format::{Fault, Geometry, Place, Secret, Superblock, BLOCK_SIZE, COPIES, SLOTS};
use proptest::prelude::*;

use super::strategies::geometry;

proptest! {
    #[test]
    fn each_block_has_one_place(geometry in geometry()) {
        let mut count = 0;

        for copy in 0..COPIES {
            prop_assert_eq!(geometry.place(geometry.superblock(copy)), Place::Super(copy));
            count += 1;
            for slot in 0..SLOTS {
                let start = geometry.slot(copy, slot);

                for block in start..start + geometry.slot_size() as u64 / BLOCK_SIZE as u64 {
                    prop_assert_eq!(geometry.place(block), Place::Journal(copy));
                    count += 1;
                }
            }
            for number in 0..geometry.metadata_blocks() {
                let block = geometry.first_chunk().place(&geometry, copy, number);
                let place = geometry.place(block);

                prop_assert_eq!(place, Place::Metadata(copy, number));
                count += 1;
            }
        }
        for block in geometry.data() {
            prop_assert_eq!(geometry.place(block), Place::Data);
            count += 1;
        }

        // All other blocks are unused: fewer than 512, to which the data is aligned.
        let unused = (0..geometry.blocks())
            .filter(|block| geometry.place(*block) == Place::Unused)
            .count() as u64;

        prop_assert_eq!(count + unused, geometry.blocks());
        prop_assert!(unused < 512);
        prop_assert_eq!(geometry.place(geometry.blocks()), Place::Unused);
        prop_assert_eq!(geometry.data().start % 512, 0);
    }

    #[test]
    fn any_sizes_are_checked(blocks: u64, journal: u64, metadata: u64) {
        let _ = Geometry::new(blocks, journal, metadata);
        let _ = Geometry::new(blocks % (1 << 37), journal % 0x1100, metadata % 0x500_0000)
            .map(|geometry| geometry.place(metadata));
        if let Ok(geometry) = Geometry::of_device(blocks) {
            prop_assert_eq!(geometry.blocks(), blocks);
        }
    }
}

#[test]
fn second_copies_are_after_the_old_ones_after_growth() {
    let geometry = Geometry::new(4096, 8, 2).expect("it fits");
    let superblock = Superblock {
        uuid: [1; 16],
        geometry,
        label: [0; 32],
        secret: Secret([2; 16]),
        mount_uuid: [1; 16],
    };

    for (blocks, is_possible) in [
        (0, false),
        (4095, false),
        (4096, false),
        (4106, false),
        (4107, true),
        (1 << 36, true),
        ((1 << 36) + 1, false),
        (u64::MAX, false),
    ] {
        let grown = geometry.grown(blocks);

        assert_eq!(grown.is_ok(), is_possible, "{blocks}");
        let Ok(grown) = grown else {
            continue;
        };

        for ([first, _], [same, second]) in geometry.copies().iter().zip(grown.copies()) {
            assert_eq!(*first, same);
            assert!(second.start >= 4096 && second.end <= blocks);
        }
        assert_eq!(geometry.data().start, grown.data().start);

        let other = Superblock {
            geometry: grown,
            label: [3; 32],
            ..superblock
        };

        assert!(superblock.can_grow_to(&other) && !other.can_grow_to(&superblock));
        for wrong in [
            Superblock {
                uuid: [4; 16],
                ..other
            },
            Superblock {
                secret: Secret([4; 16]),
                ..other
            },
            Superblock {
                geometry: Geometry::new(blocks, 10, 2).expect("it fits"),
                ..other
            },
            Superblock {
                geometry: Geometry::new(blocks, 8, 3).expect("it fits"),
                ..other
            },
        ] {
            assert!(!superblock.can_grow_to(&wrong));
        }
    }
}

#[test]
fn geometry_has_limits() {
    assert!(Geometry::new(1040, 8, 1).is_ok());
    assert_eq!(Geometry::new(1040, 6, 1), Err(Fault::Geometry));
    assert_eq!(Geometry::new(1040, 9, 1), Err(Fault::Geometry));
    assert_eq!(Geometry::new(1040, 8, 0), Err(Fault::Geometry));
    assert_eq!(Geometry::new(1 << 36, 0x1002, 1), Err(Fault::Geometry));
    assert_eq!(Geometry::new(522, 8, 1), Err(Fault::Geometry));
    assert!(Geometry::new(523, 8, 1).is_ok());
    assert_eq!(Geometry::of_device(593), Err(Fault::Geometry));
    assert!(Geometry::of_device(594).is_ok());
    assert!(Geometry::of_device(Geometry::MAX_BLOCKS).is_ok());
    assert!(Geometry::of_device(Geometry::MAX_BLOCKS + 1).is_err());
}
