// SPDX-License-Identifier: GPL-2.0

//! Strategies that generate records, chunks and sizes for the tests.

use mendfs::format::{
    Chunk, Extent, Geometry, Inode, Record, Time, CHUNK_BLOCKS, MAX_METADATA, NAME_MAX,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// A record that owns its contents.
#[derive(Clone, Debug)]
pub enum Owned {
    Inode(Inode),
    Extent(Extent),
    Name(u64, u32, Vec<u8>),
    Attribute(Vec<u8>, Vec<u8>),
    Target(Vec<u8>),
    Bad(u64, u64),
    Chunk(Chunk),
}

impl Owned {
    pub fn record(&self) -> Record<'_> {
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
            created: times[3],
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

pub fn chunk() -> impl Strategy<Value = Chunk> {
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

pub fn record() -> impl Strategy<Value = Owned> {
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

/// Valid sizes for small devices.
pub fn geometry() -> impl Strategy<Value = Geometry> {
    (4..20_u64, 1..600_u64, 600..4000_u64).prop_filter_map("does not fit", |(journal, m, n)| {
        Geometry::new(n, 2 * journal, m).ok()
    })
}
