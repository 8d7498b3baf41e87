// SPDX-License-Identifier: GPL-2.0

//! What happens when a filesystem is mounted.

use daxmf::{
    crc32c::crc32c,
    fs::Volume, //
};
use kernel::{
    prelude::*,
    rbtree::RBTreeNode,
    sync::Arc, //
};

use crate::{
    format::{
        Block,
        Fault,
        Geometry,
        Header,
        Inode,
        Magic,
        Record,
        Superblock,
        Uuid,
        BLOCK_SHIFT,
        BLOCK_SIZE,
        COPIES,
        ROOT,
        UNITS,
        UNIT_SIZE, //
    },
    inodes::{
        Name,
        Node,
        Piece, //
    },
    journal::{
        Journal,
        Logged, //
    },
    metadata::{
        damaged,
        Metadata, //
    },
    names::position,
    state::State, //
};

/// Reads the filesystem of a volume.
///
/// # Errors
///
/// - `EINVAL` if there is none, or of another version.
/// - `EUCLEAN` if it is damaged.
/// - `ENOMEM` if memory is short.
pub(crate) fn load(volume: &Arc<Volume>) -> Result<State> {
    let superblock = read_superblock(volume)?;
    let mut journal = Journal::new(superblock.geometry, superblock.uuid)?;
    let units = journal.read(volume)?;
    let metadata = Metadata::new(
        volume.clone(),
        superblock.geometry,
        superblock.uuid,
        journal,
    )?;
    let mut loader = Loader {
        state: State::new(volume.clone(), superblock, metadata),
        superblock,
        units,
        block: KBox::new([0; BLOCK_SIZE], GFP_KERNEL)?,
        other: KBox::new([0; BLOCK_SIZE], GFP_KERNEL)?,
    };

    loader.read_blocks()?;

    let mut state = loader.state;

    read_inodes(&mut state)?;
    read_records(&mut state)?;
    find_space(&mut state)?;
    if !volume.is_read_only() {
        remove_orphans(&mut state)?;
    }
    Ok(state)
}

/// Reads the superblock from the first copy that is whole.
fn read_superblock(volume: &Volume) -> Result<Superblock> {
    let blocks = volume.len() >> BLOCK_SHIFT;
    let mut block: KBox<Block> = KBox::new([0; BLOCK_SIZE], GFP_KERNEL)?;
    let mut worst = Fault::Foreign;

    // The second copy is the last block of the filesystem, which is not always that of the device.
    for start in [0, blocks.saturating_sub(1)] {
        if volume.read(start << BLOCK_SHIFT, &mut *block).is_err() {
            pr_warn!("block {start:#x}: superblock cannot be read\n");
            worst = Fault::Checksum;
            continue;
        }
        match Superblock::read(&block, crc32c) {
            Ok(superblock) if superblock.geometry.blocks() <= blocks => return Ok(superblock),
            Ok(_) => worst = Fault::Geometry,
            Err(Fault::Foreign) => {}
            Err(fault) => worst = fault,
        }
    }

    pr_err!("superblock: {}\n", worst.describe());
    Err(match worst {
        Fault::Foreign | Fault::Version => EINVAL,
        _ => EUCLEAN,
    })
}

struct Loader {
    state: State,
    superblock: Superblock,
    /// Units of the journal that may not be in place yet, in the order that they were written.
    units: KVec<Logged>,
    block: KBox<Block>,
    other: KBox<Block>,
}

impl Loader {
    fn geometry(&self) -> Geometry {
        self.superblock.geometry
    }

    fn read_blocks(&mut self) -> Result {
        for number in 0..self.geometry().metadata_blocks() {
            let copies = [self.read_copy(number, 0)?, self.read_copy(number, 1)?];
            let newest = copies.iter().flatten().map(|copy| copy.sequence).max();

            let block = match (copies, newest) {
                ([Ok(first), _], Some(newest)) if first.sequence == newest => &self.block,
                ([_, Ok(_)], _) => &self.other,
                ([Ok(_), _], _) => &self.block,
                ([Err(fault), _], _) => {
                    let fault = fault.describe();

                    pr_err!("metadata block {number}: both copies are bad: {fault}\n");
                    return Err(EUCLEAN);
                }
            };

            self.state.metadata.load(number, block)?;
            self.state.metadata.go_on_after(newest.unwrap_or(0));
            self.mend(number, copies, newest);
        }
        Ok(())
    }

    /// Reads a copy of a block, with what the journal has of it.
    fn read_copy(&mut self, number: u64, copy: u64) -> Result<Result<Copy, Fault>> {
        let start = self.geometry().metadata(copy, number) << BLOCK_SHIFT;
        let block = match copy {
            0 => &mut *self.block,
            _ => &mut *self.other,
        };

        match self.state.volume.read(start, block) {
            Ok(()) => {}
            Err(EIO) => return Ok(Err(Fault::Checksum)),
            Err(error) => return Err(error),
        }

        let uuid = self.superblock.uuid;
        // What a whole block has been through it has in it, also if that was long ago: a slot of
        // the journal may be lost, and the other one be older than what is in place.
        let found = open(block, number, uuid).map_or(0, |header| header.sequence);

        for logged in &self.units {
            if logged.address / UNITS == number && logged.sequence > found {
                put_unit(block, logged);
            }
        }

        Ok(open(block, number, uuid).map(|header| Copy {
            found,
            sequence: header.sequence,
        }))
    }

    /// Writes the copies of a block that are not as they should be.
    fn mend(&self, number: u64, copies: [Result<Copy, Fault>; 2], newest: Option<u64>) {
        if self.state.volume.is_read_only() {
            return;
        }
        for (copy, state) in (0..COPIES).zip(copies) {
            if let Err(fault) = state {
                let fault = fault.describe();

                pr_warn!("metadata block {number}, copy {copy}: {fault}, mending it\n");
            }
            if state.ok().map(|state| state.found) == newest {
                continue;
            }
            if let Err(error) = self.state.metadata.mend(copy, number) {
                pr_warn!("metadata block {number}, copy {copy}: cannot be mended: {error:?}\n");
            }
        }
    }
}

/// A copy of a block that is whole.
#[derive(Clone, Copy)]
struct Copy {
    /// The transaction that was last in place.
    found: u64,
    /// The same with what the journal has.
    sequence: u64,
}

/// The header of a metadata block, if that is whole.
fn open(block: &Block, number: u64, uuid: Uuid) -> Result<Header, Fault> {
    let header = Header::open(block, Magic::Metadata, number, crc32c)?;

    match header.uuid == uuid {
        true => Ok(header),
        false => Err(Fault::Foreign),
    }
}

/// Puts a unit where it belongs in its block.
fn put_unit(block: &mut Block, logged: &Logged) {
    // CAST: A block has 64 units.
    let at = (logged.address % UNITS) as usize * UNIT_SIZE;

    if let Some(bytes) = block.get_mut(at..) {
        for (to, from) in bytes.iter_mut().zip(&logged.unit) {
            *to = *from;
        }
    }
}

/// Makes the inodes known.
fn read_inodes(state: &mut State) -> Result {
    let State {
        metadata, inodes, ..
    } = state;

    metadata.for_each(|address, number, record| {
        if let Record::Inode(inode) = record {
            if number != address {
                return Err(bad(address, "inode of another number"));
            }
            inodes.insert(RBTreeNode::new(number, Node::new(inode), GFP_KERNEL)?);
        }
        Ok(())
    })?;

    match inodes.get(&ROOT) {
        Some(root) if root.inode.is_directory() => Ok(()),
        _ => Err(bad(ROOT, "root directory is missing")),
    }
}

fn bad(address: u64, what: &str) -> Error {
    damaged(address / UNITS, address % UNITS, what)
}

/// Something of an inode, without what the record is in.
enum Part {
    Piece(Piece),
    Name(u64, Name),
    Attribute(u64),
    Target(u64, usize),
}

/// Gives the inodes what belongs to them.
fn read_records(state: &mut State) -> Result {
    let mut parts = KVVecOfParts::new();

    state.metadata.for_each(|address, number, record| {
        let part = match record {
            Record::Inode(_) | Record::Bad { .. } => return Ok(()),
            Record::Extent(extent) => Part::Piece(Piece { extent, address }),
            Record::Name { target, kind, name } => Part::Name(
                position(name, address),
                Name {
                    address,
                    target,
                    kind,
                },
            ),
            Record::Attribute { .. } => Part::Attribute(address),
            Record::Target(target) => Part::Target(address, target.len()),
        };

        Ok(parts.push((address, number, part), GFP_KERNEL)?)
    })?;

    for (address, number, part) in parts {
        add_part(state, address, number, part)?;
    }
    Ok(())
}

type KVVecOfParts = kernel::alloc::KVVec<(u64, u64, Part)>;

fn add_part(state: &mut State, address: u64, number: u64, part: Part) -> Result {
    let Some(node) = state.inodes.get(&number) else {
        return Err(bad(address, "belongs to no inode"));
    };
    let kind = node.inode.kind();

    match part {
        Part::Piece(piece) => {
            if kind != Inode::REGULAR {
                return Err(bad(address, "extent of what is no file"));
            }
            state
                .load_piece(number, piece)
                .map_err(|error| match error {
                    EUCLEAN => bad(address, "extent outside the data, or over another"),
                    error => error,
                })
        }
        Part::Name(position, name) => {
            let is_right = state
                .inodes
                .get(&name.target)
                .is_some_and(|target| target.inode.kind() == name.kind);

            if kind != Inode::DIRECTORY || !is_right {
                return Err(bad(address, "name of nothing, or in what is no directory"));
            }
            let entry = RBTreeNode::new(position, name, GFP_KERNEL)?;

            if let Some(node) = state.inodes.get_mut(&number) {
                node.names.insert(entry);
            }
            Ok(())
        }
        Part::Attribute(address) => {
            if let Some(node) = state.inodes.get_mut(&number) {
                node.attributes.push(address, GFP_KERNEL)?;
            }
            Ok(())
        }
        Part::Target(address, len) => {
            let Some(node) = state.inodes.get_mut(&number) else {
                return Ok(());
            };

            // CAST: A `usize` is a `u64`.
            if kind != Inode::SYMLINK || node.inode.size != len as u64 {
                return Err(bad(
                    address,
                    "target of another length, or of no symbolic link",
                ));
            }
            node.target = Some(address);
            Ok(())
        }
    }
}

/// What no file has is free.
fn find_space(state: &mut State) -> Result {
    let data = state.metadata.geometry().data();
    let State { owners, space, .. } = state;
    let mut error = None;

    owners.for_each_gap(data, |gap| match space.reserve(1) {
        Ok(()) => space.give(gap),
        Err(cause) => error = Some(cause),
    });
    match error {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Removes the inodes that were in use without a link when the filesystem was last used.
fn remove_orphans(state: &mut State) -> Result {
    let mut orphans = KVec::new();

    for (number, node) in &state.inodes {
        if node.inode.links == 0 {
            orphans.push(*number, GFP_KERNEL)?;
        }
    }
    for number in orphans {
        state.evict(number)?;
    }
    Ok(())
}
