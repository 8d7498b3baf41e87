// SPDX-License-Identifier: GPL-2.0

//! Checks `fs/mendfs/format/`: what is written is read, and anything can be read.

use mendfs::checksum;
use mendfs::format::{
    Block, Chunk, Extent, Fault, Geometry, Header, Inode, Magic, Place, Record, Secret, Superblock,
    Time, Transaction, BLOCK_SIZE, CHUNK_BLOCKS, COPIES, LAST_SEQUENCE, MAX_METADATA, NAME_MAX,
    SLOTS, UNITS, UNIT_SIZE, VERSION,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// A record with contents of its own.
#[derive(Clone, Debug)]
enum Owned {
    Inode(Inode),
    Extent(Extent),
    Name(u64, u32, Vec<u8>),
    Attribute(Vec<u8>, Vec<u8>),
    Target(Vec<u8>),
    Bad(u64, u64),
    Chunk(Chunk),
}

impl Owned {
    fn record(&self) -> Record<'_> {
        match self {
            Self::Inode(inode) => Record::Inode(*inode),
            Self::Extent(extent) => Record::Extent(*extent),
            Self::Name(target, kind, name) => Record::Name {
                target: *target,
                kind: *kind,
                name,
            },
            Self::Attribute(name, value) => Record::Attribute { name, value },
            Self::Target(target) => Record::Target(target),
            Self::Bad(block, count) => Record::Bad {
                block: *block,
                count: *count,
            },
            Self::Chunk(chunk) => Record::Chunk(*chunk),
        }
    }
}

fn time() -> impl Strategy<Value = Time> {
    (any::<i64>(), 0..1_000_000_000_u32).prop_map(|(seconds, nanoseconds)| Time {
        seconds,
        nanoseconds,
    })
}

fn kind() -> impl Strategy<Value = u32> {
    proptest::sample::select(vec![
        Inode::DIRECTORY,
        Inode::REGULAR,
        Inode::SYMLINK,
        0o020_000,
        0o060_000,
        0o010_000,
        0o140_000,
    ])
}

prop_compose! {
    fn inode()(
        kind in kind(),
        bits in 0..0o10_000_u32,
        (uid, gid, links, generation) in any::<(u32, u32, u32, u32)>(),
        size in 0..=Extent::MAX_FILE_BLOCK << 12,
        (device, parent, version) in any::<(u64, u64, u64)>(),
        flags in (0..16_u32).prop_map(|bits| bits << 4),
        times in [time(), time(), time(), time()],
    ) -> Inode {
        Inode {
            mode: kind | bits,
            uid,
            gid,
            links,
            size,
            device,
            parent,
            accessed: times[0],
            modified: times[1],
            changed: times[2],
            born: times[3],
            generation,
            flags,
            version,
        }
    }
}

fn extent() -> impl Strategy<Value = Extent> {
    (1..1_u64 << 35).prop_flat_map(|count| {
        (
            0..=Extent::MAX_FILE_BLOCK - count,
            0..=Geometry::MAX_BLOCKS - count,
        )
            .prop_map(move |(file_block, block)| Extent {
                file_block,
                block,
                count,
            })
    })
}

fn text(len: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<u8>> {
    vec(1..=255_u8, len)
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    text(1..=NAME_MAX).prop_filter("no name", |name| {
        !name.contains(&b'/') && name != b"." && name != b".."
    })
}

fn chunk() -> impl Strategy<Value = Chunk> {
    let start = 0..1_u64 << 32;

    (1..=MAX_METADATA, start.clone(), start)
        .prop_filter("first copy is not the first", |(_, first, second)| {
            first < second
        })
        .prop_map(|(number, first, second)| Chunk {
            number,
            copies: [first * CHUNK_BLOCKS, second * CHUNK_BLOCKS],
        })
}

fn record() -> impl Strategy<Value = Owned> {
    prop_oneof![
        inode().prop_map(Owned::Inode),
        extent().prop_map(Owned::Extent),
        (1..u64::MAX, kind(), name())
            .prop_map(|(target, kind, name)| Owned::Name(target, kind, name)),
        (text(1..=NAME_MAX), vec(any::<u8>(), 0..3000)).prop_map(|(n, v)| Owned::Attribute(n, v)),
        text(1..=Record::MAX_TEXT).prop_map(Owned::Target),
        (0..1_u64 << 36, 1..1_u64 << 35)
            .prop_filter("too long", |(block, count)| block + count
                <= Geometry::MAX_BLOCKS)
            .prop_map(|(block, count)| Owned::Bad(block, count)),
        chunk().prop_map(Owned::Chunk),
    ]
}

/// Sizes that fit each other, in small devices.
fn geometry() -> impl Strategy<Value = Geometry> {
    (4..20_u64, 1..600_u64, 600..4000_u64).prop_filter_map("does not fit", |(journal, m, n)| {
        Geometry::new(n, 2 * journal, m).ok()
    })
}

proptest! {
    #[test]
    fn records_are_read_as_written(record in record(), inode: u64, junk in vec(any::<u8>(), 4096)) {
        let record = record.record();
        let len = record.unit_count() as usize * UNIT_SIZE;
        let mut bytes = junk;

        record.write(inode, &mut bytes[..len]);

        prop_assert_eq!(Record::units(&bytes), Ok(Some(record.unit_count())));
        prop_assert_eq!(Record::units(&bytes[..len - 1]), Err(Fault::Length));
        prop_assert_eq!(Record::read(&bytes[..len]), Ok((inode, record)));
    }

    #[test]
    fn any_bytes_are_read(mut bytes in vec(any::<u8>(), 0..4096), kind in 0..10_u8, units: u8) {
        if let [first, second, ..] = bytes.as_mut_slice() {
            (*first, *second) = (kind, units);
        }

        let units = Record::units(&bytes);
        let len = units.ok().flatten().unwrap_or(0) as usize * UNIT_SIZE;

        let _ = Record::read(&bytes);
        if let Ok((owner, record)) = Record::read(&bytes[..len]) {
            let mut again = vec![0; len];

            record.write(owner, &mut again);
            prop_assert_eq!(Record::read(&again), Ok((owner, record)));
        }
        let _ = Header::open(&bytes, Magic::Metadata, 0, checksum);
        let _ = Transaction::count(&bytes);
        let _ = Transaction::unit(&bytes, usize::MAX, usize::MAX);
        let _ = Transaction::unit(&bytes, 0, usize::MAX / 2);
    }

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
    fn headers_are_read_as_written(
        mut bytes in vec(any::<u8>(), UNIT_SIZE..5000),
        (uuid, address) in any::<([u8; 16], u64)>(),
        sequence in 0..=LAST_SEQUENCE,
        flipped in any::<proptest::sample::Index>(),
        bit in 0..8_u32,
    ) {
        let header = Header { magic: Magic::Journal, uuid, address, sequence };
        let other = address.wrapping_add(1);

        header.seal(&mut bytes, checksum);
        prop_assert_eq!(Header::open(&bytes, Magic::Journal, address, checksum), Ok(header));
        prop_assert_eq!(
            Header::open(&bytes, Magic::Super, address, checksum),
            Err(Fault::Foreign)
        );
        prop_assert_eq!(
            Header::open(&bytes, Magic::Journal, other, checksum),
            Err(Fault::Address)
        );

        let mut late = bytes.clone();
        let sequence = LAST_SEQUENCE + 1;

        Header { sequence, ..header }.seal(&mut late, checksum);
        prop_assert_eq!(
            Header::open(&late, Magic::Journal, address, checksum),
            Err(Fault::Value)
        );

        let at = flipped.index(bytes.len());

        bytes[at] ^= 1_u8 << bit;
        prop_assert!(Header::open(&bytes, Magic::Journal, address, checksum).is_err());
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

    #[test]
    fn transactions_are_read_as_written(
        units in vec((any::<u64>(), any::<[u8; UNIT_SIZE / 2]>()), 0..100),
        room in 0..UNIT_SIZE,
    ) {
        let size = Transaction::size(units.len());
        let mut slot = vec![0xff; size + room];
        let double = |half: &[u8; UNIT_SIZE / 2]| -> [u8; UNIT_SIZE] {
            std::array::from_fn(|at| half[at % half.len()])
        };

        Transaction::set_count(&mut slot, units.len() as u32);
        for (index, (address, half)) in units.iter().enumerate() {
            Transaction::set_unit(&mut slot, units.len(), index, *address, &double(half));
        }

        prop_assert_eq!(Transaction::count(&slot), Some((units.len(), size)));
        prop_assert_eq!(Transaction::count(&slot[..size - 1]), None);
        for (index, (address, half)) in units.iter().enumerate() {
            let (at, unit) = Transaction::unit(&slot, units.len(), index).expect("it is there");

            prop_assert_eq!((at, *unit), (*address, double(half)));
        }
    }

    #[test]
    fn places_are_where_things_are(geometry in geometry()) {
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

        // All others are unused, and there are less than an alignment of them.
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
fn second_copies_lie_behind_the_old_ones_after_growth() {
    let geometry = Geometry::new(4096, 8, 2).expect("it fits");
    let superblock = Superblock {
        uuid: [1; 16],
        geometry,
        label: [0; 32],
        secret: Secret([2; 16]),
        mount_uuid: [1; 16],
    };

    for (blocks, may) in [
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

        assert_eq!(grown.is_ok(), may, "{blocks}");
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

        assert!(superblock.may_grow_to(&other) && !other.may_grow_to(&superblock));
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
            assert!(!superblock.may_grow_to(&wrong));
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

proptest! {
    #[test]
    fn chunks_follow_each_other(geometry in geometry(), number in 0..1000_u64) {
        let blocks = geometry.chunk_blocks(number);

        prop_assert_eq!(geometry.chunk_blocks(number + 1).start, blocks.end);
        for block in blocks.clone() {
            prop_assert_eq!(geometry.chunk_of(block), number);
        }
        prop_assert_eq!(geometry.link(number), blocks.end * UNITS - 1);
    }

    #[test]
    fn blocks_know_their_chunk(
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
        prop_assert_eq!(Chunk::claimed(&geometry, &block), chunk);
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
            && geometry.may_have(next)
            && copies[0] < copies[1]
            && copies.iter().all(|start| start % CHUNK_BLOCKS == 0)
            && copies.iter().all(is_inside);

        prop_assert_eq!(
            geometry.next_chunk(number, &unit),
            if is_right { Ok(Some(chunk)) } else { Err(Fault::Value) }
        );
        prop_assert_eq!(geometry.next_chunk(number, &[0; UNIT_SIZE]), Ok(None));

        // It belongs to no inode.
        Record::Chunk(chunk).write(1, &mut unit);
        prop_assert!(geometry.next_chunk(number, &unit).is_err());
    }
}

#[test]
fn chunks_have_limits() {
    let geometry = Geometry::new(1 << 36, 8, 16).expect("it fits");
    let last = MAX_METADATA / CHUNK_BLOCKS - 1;

    assert!(geometry.may_have(last));
    assert!(!geometry.may_have(last + 1));
    assert!(!geometry.may_have(u64::MAX));

    // Data of 515 blocks.
    let small = Geometry::new(1040, 8, 4).expect("it fits");

    assert!(small.may_have(16));
    assert!(!small.may_have(17));
}

#[test]
fn records_have_one_shape() {
    let record = Record::Target(b"target");
    let mut bytes = [0; 2 * UNIT_SIZE];

    record.write(7, &mut bytes[..UNIT_SIZE]);
    assert_eq!(Record::read(&bytes[..UNIT_SIZE]), Ok((7, record)));
    assert_eq!(Record::read(&bytes), Err(Fault::Length));
    bytes[4] = 0;
    assert_eq!(Record::read(&bytes[..UNIT_SIZE]), Err(Fault::Value));
    bytes[0] = 8;
    assert_eq!(Record::read(&bytes[..UNIT_SIZE]), Err(Fault::Kind));
}

#[test]
fn checksum_is_crc32c() {
    assert_eq!(checksum(b"123456789"), 0xe306_9283);
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
