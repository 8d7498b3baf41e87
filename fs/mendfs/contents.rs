// SPDX-License-Identifier: GPL-2.0

//! Contents of files: where they lie, and how that changes.

use core::ops::Range;

use daxmf::{
    fs::{
        Mapping,
        Place,
        Purpose,
        Time,
        Volume, //
    },
    interval_tree::Vacant,
    range::{
        space,
        ByteRange,
        Space, //
    },
};
use kernel::{
    prelude::*,
    rbtree::{
        RBTreeNode,
        RBTreeNodeReservation, //
    },
};

use crate::{
    format::{
        Extent,
        Record,
        BLOCK_SHIFT,
        UNITS, //
    },
    inodes::{
        from_vfs,
        Node,
        Piece, //
    },
    names::address,
    owners::Owner,
    space::HUGE,
    state::State,
    view::View,
    Mendfs, //
};

/// How many pieces a transaction replaces at most, and by how many.
const MAX_PIECES: usize = 256;

/// Units of a transaction that are not pieces or the headers of their blocks: attributes, the
/// headers of theirs, and an inode.
const OTHER_UNITS: usize = 2 * UNITS as usize + 3;

/// How many blocks are allocated at a time, at most.
const MAX_ALLOCATION: u64 = 8 * HUGE;

/// The blocks that a range of bytes touches.
pub(crate) fn blocks<S: Space>(range: ByteRange<S>) -> Range<u64> {
    let pages = range.pages();

    pages.start()..pages.end()
}

/// The bytes of blocks.
pub(crate) fn bytes<S: Space>(blocks: Range<u64>) -> Result<ByteRange<S>> {
    ByteRange::between(blocks.start << BLOCK_SHIFT, blocks.end << BLOCK_SHIFT).ok_or(EINVAL)
}

/// The number of blocks.
pub(crate) fn count(blocks: &Range<u64>) -> u64 {
    blocks.end.saturating_sub(blocks.start)
}

/// The part of two ranges that is in both; may be empty.
pub(crate) fn common(a: &Range<u64>, b: &Range<u64>) -> Range<u64> {
    let start = a.start.max(b.start);

    start..a.end.min(b.end).max(start)
}

impl Extent {
    /// The one that has these blocks of the file, from `block` of the device on.
    fn new(file: &Range<u64>, block: u64) -> Self {
        Self {
            file_block: file.start,
            block,
            count: count(file),
        }
    }

    /// The blocks of the file.
    fn file_blocks(&self) -> Range<u64> {
        self.file_block..self.file_end()
    }

    /// The blocks of the device.
    pub(crate) fn blocks(&self) -> Range<u64> {
        self.block..self.end()
    }

    /// The part with these blocks of the file, which are some of its own.
    fn part(&self, file: Range<u64>) -> Self {
        Self {
            file_block: file.start,
            block: self
                .block
                .saturating_add(file.start.saturating_sub(self.file_block)),
            count: count(&file),
        }
    }

    pub(crate) fn owner(&self, inode: u64) -> Owner {
        Owner {
            inode,
            file_block: self.file_block,
        }
    }
}

/// What [`State::plan()`] has planned.
struct Plan {
    /// Pieces that go, as they are now.
    old: KVec<Piece>,
    /// Pieces that come.
    new: KVec<Piece>,
    /// Blocks of the device that the file has no more where it had them.
    cut: KVec<Range<u64>>,
    rooms: KVec<Room>,
}

/// Memory for a piece.
struct Room {
    node: RBTreeNodeReservation<u64, Piece>,
    vacant: Vacant<Owner>,
}

/// What is left to do of moving the end of a file, in blocks of it.
pub(crate) struct Moving {
    from: u64,
    to: u64,
    /// The pieces before are moved already if all goes down, else those behind.
    next: u64,
}

/// Whether what was found for `range` needs no change to serve a purpose.
pub(crate) fn is_answer(found: &Mapping, range: ByteRange<space::File>, purpose: Purpose) -> bool {
    match found.place {
        Place::Hole => matches!(purpose, Purpose::Read | Purpose::Zero),
        Place::Bad { .. } => purpose != Purpose::Rewrite,
        // Where a huge page would be shared, there will be faults of small ones.
        Place::Mapped { is_shared, .. } => {
            !is_shared || purpose != Purpose::WriteFault || range.pages().len() > 1
        }
        Place::Copied { .. } | Place::Moved { .. } => false,
    }
}

/// Blocks of the device that were taken for blocks of a file. They are given up when this is
/// dropped, unless the file has them.
struct Taken<'a> {
    fs: &'a Mendfs,
    blocks: Range<u64>,
    file: Range<u64>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if self.blocks.is_empty() {
            return;
        }

        let blocks = self.blocks.clone();

        if let Err(error) = self.fs.change_any(|state| state.give_up(blocks)) {
            pr_warn!(
                "{}: blocks {:#x}..{:#x} stay reserved until the next mount: {error:?}\n",
                self.fs.volume,
                self.blocks.start,
                self.blocks.end
            );
        }
    }
}

/// What takes long is done without the lock: to zero blocks, and to copy them.
impl Mendfs {
    fn take(&self, number: u64, file: Range<u64>) -> Result<Taken<'_>> {
        let (blocks, file) = self.change(|state| state.take(number, file))?;

        Ok(Taken {
            fs: self,
            blocks,
            file,
        })
    }

    /// Makes blocks of a file that are a hole hold zeroes, from the first one on and as many as one
    /// extent can. Returns them, or [`None`] if that is to be tried again.
    pub(crate) fn fill(
        &self,
        number: u64,
        hole: Range<u64>,
        now: Option<Time>,
    ) -> Result<Option<Mapping>> {
        let mut taken = self.take(number, hole)?;

        match self.volume.zero(bytes(taken.blocks.clone())?) {
            Err(EIO) => self
                .change(|state| state.retire_bad(taken.blocks.clone()))
                .map(|_| None),
            zeroed => {
                zeroed.and_then(|()| self.change(|state| state.fill(number, &mut taken, now)))
            }
        }
    }

    /// Gives a file a copy of its own of the first shared extent in `range`. Returns false if there
    /// is none.
    ///
    /// What is copied stays as it is: the caller has the locks of the inode and of its mapping, and
    /// other files that share it write elsewhere.
    pub(crate) fn unshare_first(&self, number: u64, range: ByteRange<space::File>) -> Result<bool> {
        let shared = self.look(|view| Ok(view.first_shared(number, blocks(range))))?;
        let Some(shared) = shared else {
            return Ok(false);
        };
        let mut taken = self.take(number, shared.file_blocks())?;
        let to = bytes(taken.blocks.clone())?;

        match self.volume.check(to) {
            Err(EIO) => {
                self.change(|state| state.retire_bad(taken.blocks.clone()))?;
                return Ok(true);
            }
            checked => checked?,
        }
        if let Err(error) = self.volume.copy(shared.block << BLOCK_SHIFT, to) {
            let noted = self.change(|state| state.note_unreadable(shared.blocks()));

            // What is to be written whole need not be copied.
            return match error == EIO && noted? {
                true => Ok(true),
                false => Err(error),
            };
        }
        // If that is to be tried again, it is still shared.
        self.change(|state| state.use_taken(number, &mut taken, None))?;
        Ok(true)
    }
}

impl State {
    /// Plans that blocks of a file are those of `new`, in order, and a hole where there are none.
    /// Returns the plan, and how far it goes.
    fn plan(
        &mut self,
        number: u64,
        file: Range<u64>,
        new: &[Extent],
    ) -> Result<(Plan, Range<u64>)> {
        let (old, file) = self.pieces_in(number, file)?;
        let mut plan = Plan {
            old,
            new: KVec::new(),
            cut: KVec::new(),
            rooms: KVec::new(),
        };

        for index in 0..plan.old.len() {
            if let Some(piece) = plan.old.get(index).copied() {
                self.plan_cut(number, piece, &file, &mut plan)?;
            }
        }
        for extent in new {
            self.plan_new(number, *extent, &file, &mut plan)?;
        }

        self.reserve(&mut plan)?;
        Ok((plan, file))
    }

    /// How many pieces a transaction can replace, and by how many, each with the header of its
    /// block.
    fn max_pieces(&self) -> usize {
        let room = self.metadata.room().saturating_sub(OTHER_UNITS);

        MAX_PIECES.min(room / 4)
    }

    /// The pieces of a file that touch blocks, not too many, and the blocks as far as these go.
    fn pieces_in(&self, number: u64, mut file: Range<u64>) -> Result<(KVec<Piece>, Range<u64>)> {
        let node = self.view.node(number)?;
        let max = self.max_pieces();
        let mut pieces = KVec::new();
        let mut next = file.start;

        while let Some(piece) = node.piece_from(next) {
            if piece.extent.file_block >= file.end {
                break;
            }
            if pieces.len() == max {
                file.end = next;
                break;
            }
            pieces.push(piece, GFP_KERNEL)?;
            next = piece.extent.file_end();
        }
        Ok((pieces, file))
    }

    /// Plans what is left of a piece when blocks are cut out of it.
    fn plan_cut(
        &mut self,
        number: u64,
        piece: Piece,
        file: &Range<u64>,
        plan: &mut Plan,
    ) -> Result {
        let whole = piece.extent.file_blocks();
        let left = whole.start..file.start.clamp(whole.start, whole.end);
        let right = file.end.clamp(whole.start, whole.end)..whole.end;
        let cut = piece.extent.part(left.end..right.start);
        let mut address = Some(piece.address);

        if cut.count != 0 {
            plan.cut.push(cut.blocks(), GFP_KERNEL)?;
        }

        for part in [left, right] {
            if !part.is_empty() {
                let extent = piece.extent.part(part);

                self.plan_extent(number, address.take(), extent, plan)?;
            }
        }
        match address {
            Some(address) => self.metadata.remove(&self.view, address),
            None => Ok(()),
        }
    }

    /// Plans the record of a piece, in the place of another or as a new one.
    fn plan_extent(
        &mut self,
        number: u64,
        address: Option<u64>,
        extent: Extent,
        plan: &mut Plan,
    ) -> Result {
        let record = Record::Extent(extent);

        let address = match address {
            Some(address) => {
                self.metadata.replace(address, number, &record)?;
                address
            }
            None => self.add(number, &record)?,
        };

        Ok(plan.new.push(Piece { extent, address }, GFP_KERNEL)?)
    }

    /// Plans a new piece among those blocks of a file that are planned. It becomes a part of the
    /// one before these if both lie in a row.
    fn plan_new(
        &mut self,
        number: u64,
        extent: Extent,
        file: &Range<u64>,
        plan: &mut Plan,
    ) -> Result {
        let before = self
            .view
            .node(number)?
            .piece_before(file.start)
            .filter(|_| extent.file_block == file.start)
            .filter(|before| before.extent.end() == extent.block);

        let Some(before) = before else {
            return self.plan_extent(number, None, extent, plan);
        };
        let merged = Extent {
            count: before.extent.count.saturating_add(extent.count),
            ..before.extent
        };

        plan.old.push(before, GFP_KERNEL)?;
        self.plan_extent(number, Some(before.address), merged, plan)
    }

    /// Reserves the memory that it takes to carry a plan out.
    fn reserve(&mut self, plan: &mut Plan) -> Result {
        let suspects = plan.cut.iter().fold(0, |count: usize, blocks| {
            count.saturating_add(self.most_suspects(blocks))
        });

        self.suspects.reserve(suspects)?;
        plan.rooms.reserve(plan.new.len(), GFP_KERNEL)?;
        // The pieces that go leave theirs.
        for _ in plan.old.len()..plan.new.len() {
            let room = Room {
                node: RBTreeNodeReservation::new(GFP_KERNEL)?,
                vacant: Vacant::new(GFP_KERNEL)?,
            };

            plan.rooms.push(room, GFP_KERNEL)?;
        }
        Ok(())
    }

    /// The most ranges of bad blocks that [`release()`](Self::release) may find.
    pub(crate) fn most_suspects(&self, blocks: &Range<u64>) -> usize {
        let mut rest = blocks.clone();
        let mut count = 0_usize;

        while let Some(bad) = self.view.bad.first_in(&rest) {
            count = count
                .saturating_add(self.view.owners.most_gaps(&bad))
                .saturating_add(self.view.readers.count(&bad));
            rest.start = bad.end;
        }
        count
    }

    /// Makes those of some blocks free that nobody has. What is bad of them is mended first: there
    /// is room for it among the suspects.
    pub(crate) fn release(&mut self, blocks: Range<u64>) {
        let (view, space) = (&*self.view, &mut self.space);
        let (suspects, mending) = (&mut self.suspects, &self.mending);

        view.for_each_gap(blocks, |mut gap| {
            while !gap.is_empty() {
                let (run, is_bad) = view.bad.run(&gap);

                gap.start = run.end;
                match is_bad {
                    true => {
                        suspects.add(run);
                        mending.ask();
                    }
                    false => space.give(run),
                }
            }
        });
    }

    /// Makes free what a plan has cut, once it is published.
    fn release_cut(&mut self, plan: Plan) {
        for blocks in plan.cut {
            self.release(blocks);
        }
    }

    /// Makes blocks of a file those of `new`, in order, and a hole where there are none, in one
    /// transaction. Returns how far that has come; if there are new ones, it must be all the way.
    fn replace(
        &mut self,
        number: u64,
        file: Range<u64>,
        new: &[Extent],
        now: Option<Time>,
    ) -> Result<u64> {
        let (mut plan, done) = self.plan(number, file, new)?;

        if let Some(now) = now {
            self.edit(number, |inode| {
                inode.modified = from_vfs(now);
                inode.changed = from_vfs(now);
            })?;
        }

        let publish = |view: &mut View| view.publish(number, &mut plan);

        match new.is_empty() {
            true => self.commit(publish)?,
            false => self.commit_contents(publish)?,
        }
        self.release_cut(plan);
        Ok(done.end)
    }

    /// Makes blocks of a file a hole, as many as one transaction can.
    fn cut(&mut self, number: u64, file: Range<u64>, now: Option<Time>) -> Result<u64> {
        self.begin()?;
        self.replace(number, file, &[], now)
    }
}

// Mapping
// -------------------------------------------------------------------------------------------------

impl View {
    /// Carries out what was planned and committed.
    fn publish(&mut self, number: u64, plan: &mut Plan) {
        let Some(node) = self.inodes.get_mut(&number) else {
            return;
        };

        for Piece { extent, .. } in &plan.old {
            let piece = node.pieces.remove_node(&extent.file_end());
            let vacant = self.owners.remove(extent.blocks(), extent.owner(number));

            node.blocks = node.blocks.saturating_sub(extent.count);
            if let (Some(piece), Some(vacant)) = (piece, vacant) {
                let node = piece.into_reservation();

                // Without room for it, it is freed.
                let _ = plan.rooms.push_within_capacity(Room { node, vacant });
            }
        }
        for piece in &plan.new {
            let extent = piece.extent;

            // There is one: it was reserved.
            if let Some(room) = plan.rooms.pop() {
                node.pieces
                    .insert(room.node.into_node(extent.file_end(), *piece));
                node.blocks = node.blocks.saturating_add(extent.count);
                self.owners
                    .add(room.vacant, extent.blocks(), extent.owner(number));
            }
        }
    }

    /// Finds the piece of a file that the first byte of `range` lies in.
    pub(crate) fn find(&self, number: u64, range: ByteRange<space::File>) -> Result<Mapping> {
        let first = blocks(range).start;
        let node = self.node(number)?;

        match node.piece_from(first) {
            Some(Piece { extent, .. }) if extent.file_block <= first => {
                self.find_place(number, node, extent.part(first..extent.file_end()))
            }
            next => {
                let end = next.map_or(Extent::MAX_FILE_BLOCK, |next| next.extent.file_block);

                Ok(Mapping {
                    range: bytes(first..end)?,
                    place: Place::Hole,
                })
            }
        }
    }

    /// Finds out of what kind the place of an extent is, as far as it is of one kind.
    fn find_place(&self, number: u64, node: &Node, extent: Extent) -> Result<Mapping> {
        let first = extent.file_block;
        let start = extent.block << BLOCK_SHIFT;
        let (run, is_bad) = self.bad.run(&extent.blocks());
        let (run, is_shared) = match node.shares && !is_bad {
            true => self.shared_run(run, extent.owner(number)),
            false => (run, false),
        };

        Ok(Mapping {
            range: bytes(first..first.saturating_add(count(&run)))?,
            place: match is_bad {
                true => Place::Bad { start },
                false => Place::Mapped {
                    start,
                    is_shared,
                    is_new: false,
                },
            },
        })
    }

    /// The first hole in blocks of a file.
    pub(crate) fn first_hole(&self, number: u64, file: Range<u64>) -> Result<Option<Range<u64>>> {
        let node = self.node(number)?;
        let mut next = file.start;

        while next < file.end {
            match node.piece_from(next) {
                Some(Piece { extent, .. }) if extent.file_block <= next => next = extent.file_end(),
                piece => {
                    let end = piece.map_or(file.end, |piece| piece.extent.file_block);

                    return Ok(Some(next..end.min(file.end)));
                }
            }
        }
        Ok(None)
    }

    /// The first extent of blocks of a file that is shared, and not bad.
    fn first_shared(&self, number: u64, file: Range<u64>) -> Option<Extent> {
        let mut next = file.start;

        let node = self.node(number).ok().filter(|node| node.shares)?;

        while next < file.end {
            let piece = node.piece_from(next)?;
            let part = common(&piece.extent.file_blocks(), &(next..file.end));

            if part.is_empty() {
                return None;
            }

            let extent = piece.extent.part(part);
            let (run, is_bad) = self.bad.run(&extent.blocks());
            let end = extent.file_block.saturating_add(count(&run));

            if is_bad {
                next = end;
                continue;
            }

            let extent = extent.part(extent.file_block..end);
            let (run, is_shared) = self.shared_run(extent.blocks(), extent.owner(number));
            let end = extent.file_block.saturating_add(count(&run));

            if is_shared {
                return Some(extent.part(extent.file_block..end));
            }
            next = end;
        }
        None
    }

    /// Notes that files share blocks.
    fn note_sharers(&mut self, numbers: [u64; 2]) -> Result {
        for number in numbers {
            self.node_mut(number)?.shares = true;
        }
        Ok(())
    }

    fn remove_attributes(&mut self, number: u64, positions: &[u64]) {
        if let Ok(node) = self.node_mut(number) {
            for position in positions {
                node.attributes.remove(position);
            }
        }
    }
}

impl State {
    /// Finds the piece of a file that the first byte of `range` lies in, and begins to copy it
    /// where that is needed. Returns [`None`] for a hole that is to be filled.
    pub(crate) fn map(
        &mut self,
        number: u64,
        range: ByteRange<space::File>,
        purpose: Purpose,
    ) -> Result<Option<Mapping>> {
        let found = self.view.find(number, range)?;

        if is_answer(&found, range, purpose) {
            return Ok(Some(found));
        }
        match found.place {
            Place::Hole => Ok(None),
            Place::Bad { .. } => self
                .begin_rewrite(number, blocks(found.range).start)
                .map(Some),
            Place::Mapped { start, .. } => self
                .begin_copy(number, blocks(found.range).start, start)
                .map(Some),
            Place::Copied { .. } | Place::Moved { .. } => Err(EUCLEAN),
        }
    }

    /// Begins an operation, and takes blocks of the device for blocks of a file, from the first one
    /// on. Nobody gets them until they are [given up](Self::give_up), or belong to a file.
    fn take(&mut self, number: u64, file: Range<u64>) -> Result<(Range<u64>, Range<u64>)> {
        self.begin()?;

        let taken = self.take_for(number, file)?;

        self.space.keep();
        Ok(taken)
    }

    /// Gives up blocks that no file has.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short. Then they are given up by the next mount.
    pub(crate) fn give_up(&mut self, blocks: Range<u64>) -> Result {
        self.suspects.reserve(self.most_suspects(&blocks))?;
        self.release(blocks);
        Ok(())
    }

    /// Makes blocks that were taken those of a file, unless they have failed. Returns whether they
    /// are.
    fn use_taken(&mut self, number: u64, taken: &mut Taken<'_>, now: Option<Time>) -> Result<bool> {
        if self.view.bad.first_in(&taken.blocks).is_some() {
            return Ok(false);
        }
        self.begin()?;

        let extent = Extent::new(&taken.file, taken.blocks.start);

        self.replace(number, taken.file.clone(), &[extent], now)?;
        taken.blocks = 0..0;
        Ok(true)
    }

    /// Makes blocks that were taken, and hold zeroes, those of a hole. Returns [`None`] if that is
    /// to be tried again: they have failed, or a page fault has filled some of the hole.
    fn fill(
        &mut self,
        number: u64,
        taken: &mut Taken<'_>,
        now: Option<Time>,
    ) -> Result<Option<Mapping>> {
        let start = taken.blocks.start << BLOCK_SHIFT;

        let hole = self.view.first_hole(number, taken.file.clone())?;

        if hole.as_ref() != Some(&taken.file) || !self.use_taken(number, taken, now)? {
            return Ok(None);
        }
        Ok(Some(Mapping {
            range: bytes(taken.file.clone())?,
            place: Place::Mapped {
                start,
                is_shared: false,
                is_new: true,
            },
        }))
    }

    /// Begins an operation, and takes blocks of the device for blocks of a file, from the first one
    /// on, for which `check` succeeds or that it mends.
    fn take_sound(
        &mut self,
        number: u64,
        file: Range<u64>,
        check: impl Fn(&Volume, ByteRange<space::Volume>) -> Result,
    ) -> Result<(Range<u64>, Range<u64>)> {
        loop {
            self.begin()?;

            let (taken, file) = self.take_for(number, file.clone())?;

            let range = bytes(taken.clone())?;

            match check(&self.volume, range) {
                Err(EIO) if self.retire_bad(taken.clone())? => (),
                // They are mended.
                Err(EIO) => return check(&self.volume, range).map(|()| (taken, file)),
                result => return result.map(|()| (taken, file)),
            }
        }
    }

    /// Retires those of some blocks that cannot be written, if any. They were taken, and nobody has
    /// told us that they are bad.
    fn retire_bad(&mut self, taken: Range<u64>) -> Result<bool> {
        let mut is_one_bad = false;

        for block in taken {
            let block = block..block.saturating_add(1);

            if self.volume.zero(bytes(block.clone())?).is_err() {
                self.note_failure(&block)?;
                is_one_bad = true;
            }
        }
        Ok(is_one_bad)
    }

    /// Takes blocks of the device for blocks of a file, from the first one on.
    fn take_for(&mut self, number: u64, file: Range<u64>) -> Result<(Range<u64>, Range<u64>)> {
        // Where a huge page can map the file it should be able to, so stop at its boundary.
        let is_aligned = file.start % HUGE == 0;
        let limit = match is_aligned {
            true if count(&file) >= HUGE => count(&file) / HUGE * HUGE,
            _ => HUGE.saturating_sub(file.start % HUGE),
        };
        let wanted = count(&file).min(limit).min(MAX_ALLOCATION);
        let goal = self
            .view
            .node(number)?
            .piece_before(file.start)
            .map_or(0, |before| before.extent.end());
        let taken = self.space.take(wanted, goal, is_aligned)?;
        let file = file.start..file.start.saturating_add(count(&taken));

        Ok((taken, file))
    }

    // Copy on write
    // ---------------------------------------------------------------------------------------------

    /// Finds a block to copy the first block of a shared extent to. It is not the file's yet.
    fn begin_copy(&mut self, number: u64, file_block: u64, source: u64) -> Result<Mapping> {
        let block = self.find_copy(number, file_block, |volume, range| volume.check(range))?;

        Ok(Mapping {
            range: bytes(file_block..file_block.saturating_add(1))?,
            place: Place::Copied {
                start: block << BLOCK_SHIFT,
                source,
            },
        })
    }

    /// Finds a block to write a bad block of a file to. It is not the file's yet.
    fn begin_rewrite(&mut self, number: u64, file_block: u64) -> Result<Mapping> {
        let block = self.find_copy(number, file_block, |volume, range| volume.zero(range))?;

        Ok(Mapping {
            range: bytes(file_block..file_block.saturating_add(1))?,
            place: Place::Moved {
                start: block << BLOCK_SHIFT,
            },
        })
    }

    /// The block that a block of a file is to be copied to, for which `check` succeeds.
    fn find_copy(
        &mut self,
        number: u64,
        file_block: u64,
        check: impl Fn(&Volume, ByteRange<space::Volume>) -> Result,
    ) -> Result<u64> {
        let known = self.copies.get(&(number, file_block)).copied();

        match known {
            Some(block) if self.view.bad.contains(block) => Err(EIO),
            Some(block) => {
                check(&self.volume, bytes(block..block.saturating_add(1))?)?;
                Ok(block)
            }
            None => self.take_copy(number, file_block, check),
        }
    }

    fn take_copy(
        &mut self,
        number: u64,
        file_block: u64,
        check: impl Fn(&Volume, ByteRange<space::Volume>) -> Result,
    ) -> Result<u64> {
        let room = RBTreeNodeReservation::new(GFP_KERNEL)?;
        let file = file_block..file_block.saturating_add(1);
        let block = self.take_sound(number, file, check)?.0.start;

        self.space.keep();
        self.copies
            .insert(room.into_node((number, file_block), block));
        Ok(block)
    }

    /// Makes the block that was copied the file's own.
    pub(crate) fn end_copy(&mut self, number: u64, range: ByteRange<space::File>) -> Result {
        let file_block = blocks(range).start;
        let Some(block) = self.copies.get(&(number, file_block)).copied() else {
            return Ok(());
        };

        if self.view.bad.contains(block) {
            return Err(EIO);
        }
        let file = file_block..file_block.saturating_add(1);
        let extent = Extent::new(&file, block);

        self.begin()?;
        self.replace(number, file, &[extent], None)?;
        self.copies.remove(&(number, file_block));
        Ok(())
    }

    /// Gives up the blocks that were to be copied to, which no page table entry points to any more.
    fn drop_copies(&mut self, number: u64, file: &Range<u64>) -> Result {
        while let Some(cursor) = self.copies.cursor_lower_bound(&(number, file.start)) {
            let (key, block) = cursor.current();
            let (key, block) = (*key, *block);

            if key.0 != number || key.1 >= file.end {
                break;
            }
            self.suspects.reserve(1)?;
            self.copies.remove(&key);
            self.release(block..block.saturating_add(1));
        }
        Ok(())
    }

    // Changes
    // ---------------------------------------------------------------------------------------------

    /// Sets the size of a file, and cuts off what lies beyond unless it grows, as much as one
    /// transaction can. Returns whether there is more.
    pub(crate) fn resize(&mut self, number: u64, size: u64, now: Time) -> Result<bool> {
        let old_size = self.view.node(number)?.inode.size;
        let end = size.div_ceil(1 << BLOCK_SHIFT);

        self.begin()?;
        // The first transaction has the size.
        if size != old_size {
            self.edit(number, |inode| {
                inode.size = size;
                inode.modified = from_vfs(now);
                inode.changed = from_vfs(now);
            })?;
        }
        if size > old_size {
            return self.commit_contents(|_| {}).map(|()| false);
        }

        let next = self.replace(number, end..Extent::MAX_FILE_BLOCK, &[], None)?;

        if next < Extent::MAX_FILE_BLOCK {
            return Ok(true);
        }
        self.drop_copies(number, &(end..Extent::MAX_FILE_BLOCK))?;
        Ok(false)
    }

    /// Makes what is in `range` a hole, as much as one transaction can. Returns whether there is
    /// more.
    pub(crate) fn punch(
        &mut self,
        number: u64,
        range: ByteRange<space::File>,
        now: Time,
    ) -> Result<bool> {
        let file = blocks(range);

        if self.cut(number, file.clone(), Some(now))? < file.end {
            return Ok(true);
        }
        self.drop_copies(number, &file)?;
        Ok(false)
    }

    /// Begins to move what lies from byte `from` of a file on to `to`, and sets the size if that
    /// grows.
    pub(crate) fn begin_move(
        &mut self,
        number: u64,
        from: u64,
        to: u64,
        size: u64,
        now: Time,
    ) -> Result<Moving> {
        let (from, to) = (from >> BLOCK_SHIFT, to >> BLOCK_SHIFT);
        let distance = to.saturating_sub(from);
        let node = self.view.node(number)?;
        let last = node.last_piece_until(Extent::MAX_FILE_BLOCK);

        if last.is_some_and(|last| {
            last.extent.file_end() > Extent::MAX_FILE_BLOCK.saturating_sub(distance)
        }) {
            return Err(EFBIG);
        }
        self.begin()?;
        if from < to {
            self.edit(number, |inode| inode.size = size)?;
            self.volume.fence()?;
        }
        // A piece that reaches across becomes two.
        self.replace(number, from..from, &[], Some(now))?;
        self.drop_copies(number, &(from..Extent::MAX_FILE_BLOCK))?;
        Ok(Moving {
            from,
            to,
            next: match to < from {
                true => from,
                false => Extent::MAX_FILE_BLOCK,
            },
        })
    }

    /// Moves as many pieces as one transaction can, those first that make room for others. Returns
    /// whether there may be more.
    pub(crate) fn go_on_moving(&mut self, number: u64, moving: &mut Moving) -> Result<bool> {
        let Moving { from, to, next } = *moving;
        let node = self.view.node(number)?;
        let max = self.max_pieces();
        let mut old = KVec::new();
        let mut next = next;

        while old.len() < max {
            let piece = match to < from {
                true => node.piece_from(next),
                false => node.last_piece_until(next),
            };
            let Some(piece) = piece.filter(|piece| piece.extent.file_block >= from) else {
                break;
            };

            old.push(piece, GFP_KERNEL)?;
            next = match to < from {
                true => piece.extent.file_end(),
                false => piece.extent.file_block,
            };
        }
        if old.is_empty() {
            return Ok(false);
        }
        self.move_pieces(number, old, |block| {
            block.saturating_sub(from).saturating_add(to)
        })?;
        moving.next = next;
        Ok(true)
    }

    /// Gives pieces of a file another place in it.
    fn move_pieces(&mut self, number: u64, old: KVec<Piece>, place: impl Fn(u64) -> u64) -> Result {
        let mut plan = Plan {
            old,
            new: KVec::new(),
            cut: KVec::new(),
            rooms: KVec::new(),
        };

        self.begin()?;
        for index in 0..plan.old.len() {
            if let Some(Piece { extent, address }) = plan.old.get(index).copied() {
                let moved = Extent {
                    file_block: place(extent.file_block),
                    ..extent
                };

                self.plan_extent(number, Some(address), moved, &mut plan)?;
            }
        }
        self.reserve(&mut plan)?;
        self.commit(|view| view.publish(number, &mut plan))?;
        self.release_cut(plan);
        Ok(())
    }

    /// Makes what is in `range` of a file also that of another from `start` on, as much as one
    /// transaction can. Returns how many bytes that are.
    pub(crate) fn share(
        &mut self,
        from: u64,
        range: ByteRange<space::File>,
        to: u64,
        start: u64,
        now: Time,
    ) -> Result<u64> {
        let (pieces, source) = self.pieces_in(from, blocks(range))?;
        let target = start >> BLOCK_SHIFT;
        let end = target.saturating_add(count(&source));
        let mut new = KVec::with_capacity(pieces.len(), GFP_KERNEL)?;

        for Piece { extent, .. } in pieces {
            let part = extent.part(common(&extent.file_blocks(), &source));
            let distance = part.file_block.saturating_sub(source.start);
            let moved = Extent {
                file_block: target.saturating_add(distance),
                ..part
            };

            new.push(moved, GFP_KERNEL)?;
        }

        // A transaction may be too small for all that lies there now; what it does must be whole.
        let mut next = target;
        while self.pieces_in(to, next..end)?.1.end < end {
            next = self.cut(to, next..end, Some(now))?;
        }

        self.view.change().note_sharers([from, to])?;
        self.begin()?;
        self.replace(to, target..end, &new, Some(now))?;
        self.drop_copies(to, &(target..end))?;
        Ok(count(&source) << BLOCK_SHIFT)
    }

    // The end
    // ---------------------------------------------------------------------------------------------

    /// Gives up what nobody uses any more of an inode: if it has no link all of it, as much as one
    /// transaction can. Returns whether there is more. It is left for later if something must be
    /// mended first, so that nobody has to wait.
    pub(crate) fn evict(&mut self, number: u64) -> Result<bool> {
        self.drop_copies(number, &(0..Extent::MAX_FILE_BLOCK))?;
        if self.view.node(number)?.inode.links != 0 {
            return Ok(false);
        }
        if self.must_mend_first() {
            self.view.change().node_mut(number)?.is_left = true;
            self.left_from = Some(self.left_from.map_or(number, |first| first.min(number)));
            return Ok(false);
        }
        self.remove(number)
    }

    /// Removes as much as one transaction can of an inode that was left to be removed later.
    /// Returns whether there is more.
    pub(crate) fn evict_left(&mut self) -> Result<bool> {
        while let Some(first) = self.left_from {
            let Some(cursor) = self.view.inodes.cursor_lower_bound(&first) else {
                break;
            };
            let (number, node) = cursor.current();
            let (number, is_left) = (*number, node.is_left);

            if is_left {
                self.left_from = Some(number);
                self.remove(number)?;
                return Ok(true);
            }
            self.left_from = number.checked_add(1);
        }
        self.left_from = None;
        Ok(false)
    }

    /// Removes as much of an inode as one transaction can. Returns whether there is more.
    fn remove(&mut self, number: u64) -> Result<bool> {
        let all = 0..Extent::MAX_FILE_BLOCK;

        // All but the last pieces and attributes go first, so that what is left fits a transaction.
        if self.pieces_in(number, all.clone())?.1.end < all.end {
            self.cut(number, all, None)?;
            return Ok(true);
        }
        self.remove_inode(number)
    }

    /// Plans to remove attributes of an inode. Returns the positions of as many as a transaction
    /// has room for, or [`None`] if these are all.
    fn plan_attributes(&mut self, number: u64) -> Result<Option<KVec<u64>>> {
        let node = self.view.node(number)?;
        let mut room = UNITS;
        let mut removed = KVec::new();

        for position in node.attributes.keys() {
            let address = address(*position);
            let count = self.view.table.record(address)?.unit_count();
            let Some(rest) = room.checked_sub(count) else {
                return Ok(Some(removed));
            };

            self.metadata.remove(&self.view, address)?;
            removed.push(*position, GFP_KERNEL)?;
            room = rest;
        }
        Ok(None)
    }

    /// Removes an inode, or only attributes if there are many. Returns whether there is more.
    fn remove_inode(&mut self, number: u64) -> Result<bool> {
        self.begin()?;
        if let Some(removed) = self.plan_attributes(number)? {
            self.commit(|view| view.remove_attributes(number, &removed))?;
            return Ok(true);
        }

        let (mut plan, _) = self.plan(number, 0..Extent::MAX_FILE_BLOCK, &[])?;

        if let Some(address) = self.view.node(number)?.target {
            self.metadata.remove(&self.view, address)?;
        }
        self.metadata.remove(&self.view, number)?;

        self.commit(|view| {
            view.publish(number, &mut plan);
            view.inodes.remove(&number);
        })?;
        self.release_cut(plan);
        Ok(false)
    }
}

impl View {
    /// Adds a piece that is on the media.
    ///
    /// # Errors
    ///
    /// - `EUCLEAN` if it cannot be there.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn load_piece(&mut self, number: u64, piece: Piece) -> Result {
        let extent = piece.extent;
        let data = self.superblock.geometry.data();

        if extent.block < data.start || extent.end() > data.end {
            return Err(EUCLEAN);
        }

        let node = self.inodes.get_mut(&number).ok_or(EUCLEAN)?;
        let is_overlapping = node
            .piece_from(extent.file_block)
            .is_some_and(|other| other.extent.file_block < extent.file_end());

        if is_overlapping {
            return Err(EUCLEAN);
        }

        node.pieces
            .insert(RBTreeNode::new(extent.file_end(), piece, GFP_KERNEL)?);
        node.blocks = node.blocks.saturating_add(extent.count);

        self.owners.add(
            Vacant::new(GFP_KERNEL)?,
            extent.blocks(),
            extent.owner(number),
        );
        Ok(())
    }
}
