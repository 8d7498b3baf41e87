// SPDX-License-Identifier: GPL-2.0

//! What happens when a filesystem is mounted.

use core::ops::Range;

use daxmf::{
    crc32c::crc32c,
    fs::{
        Mending,
        Volume, //
    },
    interval_tree::Vacant, //
};
use kernel::{
    alloc::KVVec,
    prelude::*,
    rbtree::RBTreeNode,
    sync::Arc, //
};

use crate::{
    format::{
        Block,
        Chunk,
        Fault,
        Geometry,
        Inode,
        Record,
        Superblock,
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
    owners::Owner,
    state::State,
    view::View, //
};

/// Reads the filesystem of a volume.
///
/// # Errors
///
/// - `EINVAL` if there is none, or one of another version or with unknown features.
/// - `EUCLEAN` if it is damaged.
/// - `ENOMEM` if memory is short.
pub(crate) fn load(volume: &Arc<Volume>, mending: &Mending) -> Result<State> {
    let superblock = read_superblock(volume)?;
    let mut journal = Journal::new(superblock.geometry, superblock.uuid)?;
    let units = journal.read(volume)?;
    let metadata = Metadata::new(volume.clone(), superblock, journal)?;
    let mut loader = Loader {
        state: State::new(volume.clone(), mending.clone(), metadata)?,
        superblock,
        units,
        block: KBox::new([0; BLOCK_SIZE], GFP_KERNEL)?,
        other: KBox::new([0; BLOCK_SIZE], GFP_KERNEL)?,
    };

    for [first, second] in superblock.geometry.copies() {
        loader.state.note_unreadable(first)?;
        loader.state.note_unreadable(second)?;
    }
    loader.read_chunks()?;

    let mut state = loader.state;

    let State { view, metadata, .. } = &mut state;

    // Nobody else looks at it yet.
    load_view(&mut view.change(), metadata)?;
    find_space(&mut state)?;
    state.note_unreadable(superblock.geometry.data())?;
    if !volume.is_read_only() {
        mend_superblocks(&state);
    }
    Ok(state)
}

/// Makes known what the table has.
fn load_view(view: &mut View, metadata: &Metadata) -> Result {
    read_inodes(view)?;
    read_records(view, metadata)?;
    view.check_tree()?;
    find_sharers(view, metadata)
}

/// Reads the superblock from the first copy that is whole. The other one must not say otherwise
/// but for what it is called, or that it has grown when the machine stopped: which is right only
/// `fsck.mendfs` finds out.
fn read_superblock(volume: &Volume) -> Result<Superblock> {
    let blocks = volume.len() >> BLOCK_SHIFT;
    let mut block: KBox<Block> = KBox::new([0; BLOCK_SIZE], GFP_KERNEL)?;
    let mut found: Option<Superblock> = None;
    let mut worst = Fault::Foreign;

    // The second copy is the last block of the filesystem, which is not always that of the device.
    for start in [0, blocks.saturating_sub(1)] {
        if volume.read(start << BLOCK_SHIFT, &mut *block).is_err() {
            if found.is_none() {
                pr_warn!("{volume}: block {start:#x}: superblock cannot be read\n");
                worst = Fault::Checksum;
            }
            continue;
        }
        match Superblock::read(&block, crc32c) {
            Ok(one) if one.geometry.blocks() > blocks => worst = Fault::Geometry,
            Ok(other)
                if found.is_some_and(|one| {
                    one.uuid == other.uuid
                        && !one.is_same_but_named(&other)
                        && !was_growing(volume, &one, &other, &mut block)
                }) =>
            {
                pr_err!("{volume}: superblock: the copies are not the same\n");
                return Err(EUCLEAN);
            }
            Ok(one) => found = found.or(Some(one)),
            Err(Fault::Foreign) => {}
            Err(fault) => worst = fault,
        }
    }

    found.ok_or_else(|| {
        pr_err!("{volume}: superblock: {worst}\n");
        match worst {
            Fault::Foreign | Fault::Version(_) | Fault::Features(_) => EINVAL,
            _ => EUCLEAN,
        }
    })
}

/// Whether the machine stopped when one superblock, the first copy, was about to become the other.
/// Nobody has had the blocks of its second copy then. `block` is overwritten.
fn was_growing(volume: &Volume, one: &Superblock, other: &Superblock, block: &mut Block) -> bool {
    let start = one.geometry.superblock(1) << BLOCK_SHIFT;

    one.may_grow_to(other)
        && volume.read(start, block).is_ok()
        && Superblock::read(block, crc32c).is_ok_and(|second| one.is_same_but_named(&second))
}

/// Writes the copies of the superblock that are not as they should be, and clears what a growth
/// that was interrupted has left.
fn mend_superblocks(state: &State) {
    let mut are_whole = true;

    for copy in 0..COPIES {
        // What is bad is mended later: it may just have failed.
        if state
            .metadata
            .bad
            .contains(state.metadata.geometry().superblock(copy))
        {
            are_whole = false;
            continue;
        }
        if let Err(error) = state.mend_superblock(copy) {
            pr_warn!(
                "{}: superblock {copy}: cannot be mended: {error:?}\n",
                state.volume
            );
            are_whole = false;
        }
    }
    // It may be the only one that there is.
    if !are_whole {
        return;
    }
    if let Err(error) = state.clear_last_block() {
        pr_warn!(
            "{}: what is left of a growth cannot be cleared: {error:?}\n",
            state.volume
        );
    }
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

    /// Reads the chunks, one after the other: what there is says where the next one is.
    fn read_chunks(&mut self) -> Result {
        let first = self.geometry().first_chunk();

        self.state.metadata.insert(&mut self.state.view, first, 0)?;
        self.read_blocks(&first)?;

        let mut last = first.number;

        while let Some(chunk) = self.state.metadata.next_chunk(&self.state.view, last)? {
            self.add_chunk(&chunk, last)?;
            self.read_blocks(&chunk)?;
            last = chunk.number;
        }

        // What was put in place must be durable before the next transaction takes the slot of the
        // older one that it is from.
        match self.state.volume.is_read_only() {
            true => Ok(()),
            false => self.state.volume.fence(),
        }
    }

    fn add_chunk(&mut self, chunk: &Chunk, before: u64) -> Result {
        let state = &mut self.state;

        // Nobody else has blocks yet.
        for blocks in chunk.blocks() {
            if state.view.owners.of(blocks).next().is_some() {
                return Err(state.view.bad(
                    self.superblock.geometry.link(before),
                    "record of a chunk over another",
                ));
            }
        }

        let vacant = [Vacant::new(GFP_KERNEL)?, Vacant::new(GFP_KERNEL)?];

        state.metadata.insert(&mut state.view, *chunk, before)?;
        state.view.change().own_chunk(chunk, vacant);
        Ok(())
    }

    fn read_blocks(&mut self, chunk: &Chunk) -> Result {
        for number in self.geometry().chunk_blocks(chunk.number) {
            let copies = [
                self.read_copy(chunk, number, 0)?,
                self.read_copy(chunk, number, 1)?,
            ];
            let newest = copies.iter().flatten().map(|copy| copy.sequence).max();

            let block = match (copies, newest) {
                ([Ok(first), _], Some(newest)) if first.sequence == newest => &self.block,
                ([_, Ok(_)], _) => &self.other,
                ([Ok(_), _], _) => &self.block,
                ([Err(fault), _], _) => {
                    let volume = &self.state.volume;

                    pr_err!("{volume}: metadata block {number}: both copies are bad: {fault}\n");
                    return Err(EUCLEAN);
                }
            };

            self.state
                .metadata
                .load(&mut self.state.view, number, block)?;
            self.state.metadata.go_on_after(newest.unwrap_or(0));
            self.mend(chunk, number, copies, newest, block);
        }
        Ok(())
    }

    /// Reads a copy of a block, with what the journal has of it.
    fn read_copy(&mut self, chunk: &Chunk, number: u64, copy: u64) -> Result<Result<Copy, Fault>> {
        let place = chunk.place(&self.superblock.geometry, copy, number);
        let block = match copy {
            0 => &mut *self.block,
            _ => &mut *self.other,
        };

        match self.state.volume.read(place << BLOCK_SHIFT, block) {
            Ok(()) => {}
            Err(EIO) => {
                self.state.note_failure(&(place..place.saturating_add(1)))?;
                return Ok(Err(Fault::Checksum));
            }
            Err(error) => return Err(error),
        }

        let open = |block: &Block| chunk.open(&self.superblock, number, block, crc32c);
        // What a whole block has been through it has in it, also if that was long ago: a slot of
        // the journal may be lost, and the other one be older than what is in place.
        let found = open(block).unwrap_or(0);

        for logged in &self.units {
            if logged.address / UNITS == number && logged.sequence > found {
                put_unit(block, logged);
            }
        }

        Ok(open(block).map(|sequence| Copy { found, sequence }))
    }

    /// Writes the copies of a block that are not as they should be, which is `block`.
    fn mend(
        &self,
        chunk: &Chunk,
        number: u64,
        copies: [Result<Copy, Fault>; 2],
        newest: Option<u64>,
        block: &Block,
    ) {
        if self.state.volume.is_read_only() {
            return;
        }

        // Of two that were changed last by the same transaction, the first counts.
        let are_same = copies.iter().any(Result::is_err) || *self.block == *self.other;

        let volume = &self.state.volume;

        for (copy, state) in (0..COPIES).zip(copies) {
            if let Err(fault) = state {
                pr_warn!("{volume}: metadata block {number}, copy {copy}: {fault}, mending it\n");
            }

            let place = chunk.place(&self.superblock.geometry, copy, number);
            let is_right = are_same && state.ok().map(|state| state.found) == newest;

            // What is bad is mended later: it may just have failed.
            if is_right || self.state.metadata.bad.contains(place) {
                continue;
            }
            if let Err(error) = volume.mend(place << BLOCK_SHIFT, block) {
                pr_warn!(
                    "{volume}: metadata block {number}, copy {copy}: cannot be mended: {error:?}\n"
                );
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
fn read_inodes(view: &mut View) -> Result {
    let View {
        table,
        inodes,
        volume,
        ..
    } = view;

    table.for_each(|address, number, record| {
        if let Record::Inode(inode) = record {
            if number != address {
                return Err(damaged(volume, address, "inode of another number"));
            }
            if inode != inode.without_strays() {
                return Err(damaged(
                    volume,
                    address,
                    "inode with what its type does not have",
                ));
            }
            inodes.insert(RBTreeNode::new(number, Node::new(inode), GFP_KERNEL)?);
        }
        Ok(())
    })?;

    match inodes.get(&ROOT) {
        Some(root) if root.inode.is_directory() => Ok(()),
        _ => Err(damaged(volume, ROOT, "root directory is missing")),
    }
}

/// Something of an inode, without what the record is in.
enum Part {
    Piece(Piece),
    Name(Name),
    Attribute,
    Target(usize),
}

/// A part, the inode that it belongs to, and the address of its record.
struct Owned {
    address: u64,
    number: u64,
    part: Part,
}

/// Gives the inodes what belongs to them.
fn read_records(view: &mut View, metadata: &Metadata) -> Result {
    let mut parts = KVVec::new();
    let mut bad_ranges = KVVec::new();

    view.table.for_each(|address, number, record| {
        let part = match record {
            Record::Inode(_) => return Ok(()),
            Record::Extent(extent) => Part::Piece(Piece { extent, address }),
            Record::Name { target, kind, .. } => Part::Name(Name { target, kind }),
            Record::Attribute { .. } => Part::Attribute,
            Record::Target(target) => Part::Target(target.len()),
            Record::Bad { block, count } => {
                let range = block..block.saturating_add(count);

                return Ok(bad_ranges.push((address, number, range), GFP_KERNEL)?);
            }
            // The loader has followed it.
            Record::Chunk(_) if metadata.is_link(address) => return Ok(()),
            Record::Chunk(_) => {
                let what = "record of a chunk that is not in the last unit of one";

                return Err(damaged(&view.volume, address, what));
            }
        };

        let owned = Owned {
            address,
            number,
            part,
        };

        Ok(parts.push(owned, GFP_KERNEL)?)
    })?;

    // As long as nobody but chunks has blocks.
    for (address, number, range) in bad_ranges {
        view.add_bad(address, number, range)?;
    }
    for Owned {
        address,
        number,
        part,
    } in parts
    {
        view.add_part(address, number, part)?;
    }
    Ok(())
}

impl View {
    fn add_part(&mut self, address: u64, number: u64, part: Part) -> Result {
        let Some(node) = self.inodes.get_mut(&number) else {
            return Err(self.bad(address, "belongs to no inode"));
        };
        let kind = node.inode.kind();

        match part {
            Part::Piece(_) if kind != Inode::REGULAR => {
                Err(self.bad(address, "extent of what is no file"))
            }
            Part::Piece(piece) => self.load_piece(number, piece).map_err(|error| match error {
                EUCLEAN => self.bad(address, "extent outside the data, or over another"),
                error => error,
            }),
            Part::Name(_) if kind != Inode::DIRECTORY => {
                Err(self.bad(address, "name in what is no directory"))
            }
            Part::Name(name) => self.add_name_found(number, address, name),
            Part::Attribute => self.add_attribute(number, address),
            Part::Target(len) => {
                // CAST: A `usize` is a `u64`.
                if kind != Inode::SYMLINK || node.inode.size != len as u64 {
                    return Err(
                        self.bad(address, "target of another length, or of no symbolic link")
                    );
                }
                if node.target.replace(address).is_some() {
                    return Err(self.bad(address, "second target of a symbolic link"));
                }
                Ok(())
            }
        }
    }

    /// Adds a name to a directory.
    fn add_name_found(&mut self, directory: u64, address: u64, name: Name) -> Result {
        let position = self.position_of(address)?;
        let is_directory = name.kind == Inode::DIRECTORY;
        let Some(target) = self.inodes.get_mut(&name.target) else {
            return Err(self.bad(address, "name of nothing"));
        };

        if target.inode.kind() != name.kind {
            return Err(self.bad(address, "name of another type than its inode"));
        }
        if is_directory && (name.target == ROOT || target.inode.parent != directory) {
            return Err(self.bad(address, "name of a directory that is elsewhere"));
        }
        target.found.names = target.found.names.saturating_add(1);

        let entry = RBTreeNode::new(position, name, GFP_KERNEL)?;
        let node = self.node_mut(directory)?;

        node.names.insert(entry);
        if is_directory {
            node.found.directories = node.found.directories.saturating_add(1);
        }
        Ok(())
    }

    fn add_attribute(&mut self, number: u64, address: u64) -> Result {
        let entry = RBTreeNode::new(self.position_of(address)?, (), GFP_KERNEL)?;

        self.node_mut(number)?.attributes.insert(entry);
        Ok(())
    }

    /// The first inode from `number` on that has no link.
    fn orphan_from(&self, number: u64) -> Option<u64> {
        let mut next = number;

        while let Some(cursor) = self.inodes.cursor_lower_bound(&next) {
            let (number, node) = cursor.current();

            if node.inode.links == 0 {
                return Some(*number);
            }
            next = number.saturating_add(1);
        }
        None
    }

    fn add_bad(&mut self, address: u64, number: u64, range: Range<u64>) -> Result {
        let data = self.superblock.geometry.data();
        let is_known =
            self.bad.count(&range) != 0 || self.owners.of(range.clone()).next().is_some();

        if number != 0 || range.start < data.start || range.end > data.end || is_known {
            return Err(self.bad(address, "bad blocks outside the data, or over others"));
        }
        self.bad.add(&range, Some(address))
    }
}

/// Notes which inodes share blocks. Nobody shares those of the metadata.
///
/// Extents come in the order of where they start. One that overlaps any before it overlaps the one
/// of those that reaches farthest. If it overlaps others, too, they all have its first block: they
/// overlap each other, and are known to share.
///
/// # Errors
///
/// - `EUCLEAN` if a file has blocks of the metadata.
fn find_sharers(view: &mut View, metadata: &Metadata) -> Result {
    let data = metadata.geometry().data();
    let View {
        owners,
        inodes,
        volume,
        ..
    } = view;
    let mut farthest: (u64, Option<Owner>) = (0, None);

    for (range, owner) in owners.of(data) {
        let (end, holder) = farthest;

        if range.start < end {
            for sharer in [holder, Some(owner)].into_iter().flatten() {
                if let Some((chunk, _)) = sharer.chunk() {
                    let what = "record of a chunk that a file has blocks of";

                    return Err(damaged(volume, metadata.chunk_record(chunk), what));
                }
                if let Some(node) = inodes.get_mut(&sharer.inode) {
                    node.shares = true;
                }
            }
        }
        if range.end > end {
            farthest = (range.end, Some(owner));
        }
    }
    Ok(())
}

/// What no file has is free, or bad. The device may have been mended since.
fn find_space(state: &mut State) -> Result {
    let data = state.metadata.geometry().data();
    let State {
        view,
        space,
        suspects,
        ..
    } = state;
    let mut result = Ok(());
    let mut next = data.start;

    view.for_each_gap(data.clone(), |mut gap| {
        if result.is_ok() {
            result = space.occupy(next..gap.start);
        }
        next = gap.end;
        while result.is_ok() && !gap.is_empty() {
            let (run, is_bad) = view.bad.run(&gap);

            gap.start = run.end;
            if is_bad {
                result = space
                    .occupy(run.clone())
                    .and_then(|()| suspects.reserve(1))
                    .map(|()| suspects.add(run));
            }
        }
    });
    result.and_then(|()| space.occupy(next..data.end))
}

/// Removes the inodes that were in use without a link when the filesystem was last used. One that
/// cannot go stays, and is in nobody's way. Returns false if something must be mended first.
///
/// # Errors
///
/// - `EIO` if the filesystem is shut down.
pub(crate) fn remove_orphans(state: &mut State) -> Result<bool> {
    let mut next = 0;
    let mut stay = 0_u64;
    let mut last_error = None;

    state.view.check()?;
    if state.must_mend_first() {
        return Ok(false);
    }

    while let Some(number) = state.view.orphan_from(next) {
        match state.evict(number) {
            Ok(true) => {}
            Ok(false) => next = number.saturating_add(1),
            Err(error) => {
                state.view.check()?;
                stay = stay.saturating_add(1);
                last_error = Some(error);
                next = number.saturating_add(1);
            }
        }
    }
    if let Some(error) = last_error {
        pr_warn!(
            "{}: {stay} inodes without a link cannot be removed: {error:?}; the next mount tries \
             again\n",
            state.volume
        );
    }
    Ok(true)
}
