// SPDX-License-Identifier: GPL-2.0

//! How a mounted filesystem changes.

use core::ops::Range;

use daxmf::{
    fs::{
        Attributes,
        Mending,
        Time,
        Volume, //
    },
    interval_tree::Vacant,
    single_writer::Writer, //
};
use kernel::{
    prelude::*,
    rbtree::RBTree,
    sync::Arc,
    time::{
        Delta,
        Instant,
        Monotonic, //
    }, //
};

use crate::{
    contents::bytes,
    format::{
        Chunk,
        Inode,
        Record,
        Superblock,
        COPIES, //
    },
    inodes::from_vfs,
    metadata::Metadata,
    owners::Owner,
    space::Space,
    suspects::Suspects,
    view::View, //
};

/// Who changes a mounted filesystem, behind one lock.
///
/// An operation changes it in four steps. It begins, which undoes what one before has left behind
/// when it failed. It plans: adds and replaces records, takes blocks, and reserves memory for what
/// will follow. It commits: the transaction becomes durable. Then it publishes the change, which
/// cannot fail. Only then readers wait.
pub(crate) struct State {
    pub(crate) volume: Arc<Volume>,
    pub(crate) view: Writer<View>,
    pub(crate) metadata: Metadata,
    pub(crate) space: Space,
    /// Blocks that are not those of a file yet, by the inode and the block of it that is about to
    /// be copied to them.
    pub(crate) copies: RBTree<(u64, u64), u64>,
    /// Inodes that change with the next commit.
    edits: KVec<(u64, Inode)>,
    pub(crate) suspects: Suspects,
    pub(crate) mending: Mending,
    /// A number before which no inode is to be removed as soon as that is possible, if any is.
    pub(crate) left_from: Option<u64>,
    /// Since when changes have been waiting for what must be mended before them.
    pub(crate) waiting: Option<Instant<Monotonic>>,
}

/// How long changes wait for what must be mended before them: many times as long as that takes,
/// and much less than the kernel takes for a hang.
const MAX_WAIT: Delta = Delta::from_secs(30);

impl State {
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn new(volume: Arc<Volume>, mending: Mending, metadata: Metadata) -> Result<Self> {
        Ok(Self {
            view: Writer::new(View::new(volume.clone(), *metadata.superblock())?)?,
            space: Space::new(metadata.geometry().data())?,
            metadata,
            volume,
            copies: RBTree::new(),
            edits: KVec::new(),
            suspects: Suspects::new(),
            mending,
            left_from: None,
            waiting: None,
        })
    }

    /// Whether nothing may be changed before what is bad was mended: a transaction or metadata
    /// would be in bad memory only.
    pub(crate) fn must_mend_first(&self) -> bool {
        !self.suspects.is_empty()
            && (self.metadata.has_lost_both() || self.lost_both_of_chunk().is_some())
            && self.suspects.has_copies(&self.metadata.bad)
    }

    /// How long a change has to wait at most for what must be mended before it, if at all.
    ///
    /// # Errors
    ///
    /// - `EIO` if changes have been waiting for long enough.
    pub(crate) fn time_to_wait(&mut self) -> Result<Option<Delta>> {
        if !self.must_mend_first() {
            self.waiting = None;
            return Ok(None);
        }

        let since = *self.waiting.get_or_insert_with(Instant::now);
        let rest = MAX_WAIT - since.elapsed();

        match rest > Delta::ZERO {
            true => Ok(Some(rest)),
            false => Err(EIO),
        }
    }

    /// Begins an operation.
    ///
    /// # Errors
    ///
    /// - `EIO` if the filesystem is shut down.
    pub(crate) fn begin(&mut self) -> Result {
        self.edits.clear();
        self.space.begin();
        self.metadata.begin();
        self.view.check()?;
        self.shrink();
        Ok(())
    }

    /// Changes an inode with the next commit, and counts that.
    ///
    /// # Errors
    ///
    /// - `ESTALE` if there is no inode of this number.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn edit(&mut self, number: u64, edit: impl FnOnce(&mut Inode)) -> Result {
        self.edit_uncounted(number, |inode| {
            inode.version = inode.version.saturating_add(1);
            edit(inode);
        })
    }

    /// Changes an inode with the next commit.
    ///
    /// # Errors
    ///
    /// - As [`edit()`](Self::edit).
    fn edit_uncounted(&mut self, number: u64, edit: impl FnOnce(&mut Inode)) -> Result {
        if let Some((_, inode)) = self.edits.iter_mut().find(|(it, _)| *it == number) {
            edit(inode);
            return Ok(());
        }

        let mut inode = self.view.node(number)?.inode;

        edit(&mut inode);
        self.edits.push((number, inode), GFP_KERNEL)?;
        Ok(())
    }

    /// Makes what was planned durable, and then visible: inodes that were edited, and what
    /// `publish` changes.
    ///
    /// # Errors
    ///
    /// - `EIO` if it cannot be written. Then the filesystem is shut down.
    /// - `E2BIG` and `ENOMEM`. Then nothing has happened.
    pub(crate) fn commit(&mut self, publish: impl FnOnce(&mut View)) -> Result {
        for (number, inode) in &self.edits {
            self.metadata
                .replace(*number, *number, &Record::Inode(*inode))?;
        }

        let edits = &mut self.edits;

        self.metadata.commit(&mut self.view, |view| {
            while let Some((number, inode)) = edits.pop() {
                if let Some(node) = view.inodes.get_mut(&number) {
                    node.inode = inode;
                }
            }
            publish(view);
        })?;
        self.space.keep();
        self.shrink();
        Ok(())
    }

    /// Makes what was planned durable, and before it the contents that it makes part of a file. The
    /// journal counts as soon as all of it is there, whatever else is still on its way.
    ///
    /// # Errors
    ///
    /// - As [`commit()`](Self::commit), and `EIO` if the device cannot be flushed.
    pub(crate) fn commit_contents(&mut self, publish: impl FnOnce(&mut View)) -> Result {
        self.volume.fence()?;
        self.commit(publish)
    }
}

// How the metadata grows
// -------------------------------------------------------------------------------------------------

impl State {
    /// Adds a record, which belongs to `inode`. If there is no room, the metadata grows. Returns
    /// its address.
    ///
    /// # Errors
    ///
    /// - `ENOSPC` if the metadata cannot grow.
    /// - `EIO` if the filesystem is shut down.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn add(&mut self, inode: u64, record: &Record<'_>) -> Result<u64> {
        self.with_room(|metadata, view| metadata.add(view, inode, record))
    }

    /// The same for the record of an inode. Returns its number.
    ///
    /// # Errors
    ///
    /// - As [`add()`](Self::add).
    pub(crate) fn add_inode(&mut self, record: &Record<'_>) -> Result<u64> {
        self.with_room(|metadata, view| metadata.add_inode(view, record))
    }

    /// Calls `add`, and again with more metadata if there is no room.
    fn with_room(
        &mut self,
        add: impl Fn(&mut Metadata, &mut Writer<View>) -> Result<u64>,
    ) -> Result<u64> {
        match add(&mut self.metadata, &mut self.view) {
            Err(ENOSPC) => {
                self.grow()?;
                add(&mut self.metadata, &mut self.view)
            }
            result => result,
        }
    }

    /// Makes a chunk of the metadata from free blocks, by a transaction of its own. The operation
    /// that needs it goes on.
    fn grow(&mut self) -> Result {
        loop {
            let number = self.metadata.vacant_chunk().ok_or(ENOSPC)?;

            let vacant = [Vacant::new(GFP_KERNEL)?, Vacant::new(GFP_KERNEL)?];
            let copies = self.space.take_chunk()?;
            let chunk = Chunk { number, copies };
            let result = self.metadata.add_chunk(&mut self.view, chunk);

            match result {
                Ok(()) => {
                    self.view.change().own_chunk(&chunk, vacant);
                    return Ok(());
                }
                // Nobody has told us that some of it is bad.
                Err(EIO) if self.view.check().is_ok() => match self.set_bad_aside(&chunk)? {
                    true => {}
                    false => return Err(EIO),
                },
                Err(error) => {
                    chunk.blocks().map(|blocks| self.space.give(blocks));
                    return Err(error);
                }
            }
        }
    }

    /// Gives back the blocks of a chunk that was not made, but for those that cannot be written:
    /// they are to be mended. Returns whether there are such.
    fn set_bad_aside(&mut self, chunk: &Chunk) -> Result<bool> {
        let mut result = Ok(false);

        for block in chunk.blocks().into_iter().flatten() {
            let one = block..block.saturating_add(1);

            if self.volume.zero(bytes(one.clone())?).is_ok() {
                self.space.give(one);
                continue;
            }
            match self.note_unwritable(one.clone()) {
                Ok(()) => result = result.and(Ok(true)),
                Err(error) => {
                    self.space.give(one);
                    result = Err(error);
                }
            }
        }
        result
    }

    /// Notes that a block is bad that was taken.
    fn note_unwritable(&mut self, block: Range<u64>) -> Result {
        self.suspects.reserve(1)?;
        self.view.change().bad.add(&block, None)?;
        self.suspects.add(block);
        self.mending.ask();
        Ok(())
    }

    /// Gives back the chunks of the metadata that nobody needs. What fails is tried again by the
    /// next operation.
    pub(crate) fn shrink(&mut self) {
        while let Some(chunk) = self.metadata.empty_chunk() {
            if self
                .metadata
                .remove_chunk(&mut self.view, chunk.number)
                .is_err()
            {
                return;
            }
            self.view.change().disown_chunk(&chunk);
            for blocks in chunk.blocks() {
                self.space.give(blocks);
            }
        }
    }
}

impl View {
    /// Makes a chunk known to be metadata.
    pub(crate) fn own_chunk(&mut self, chunk: &Chunk, vacant: [Vacant<Owner>; COPIES as usize]) {
        for ((copy, blocks), vacant) in (0..).zip(chunk.blocks()).zip(vacant) {
            self.owners
                .add(vacant, blocks, Owner::metadata(chunk.number, copy));
        }
    }

    fn disown_chunk(&mut self, chunk: &Chunk) {
        for (copy, blocks) in (0..).zip(chunk.blocks()) {
            let _ = self
                .owners
                .remove(blocks, Owner::metadata(chunk.number, copy));
        }
    }
}

impl State {
    /// Counts anew what `statfs()` tells.
    pub(crate) fn count(&self) {
        // What is free may become metadata.
        let more = self.metadata.units_of_more(self.space.free());

        self.view.counts.set(
            self.space.free(),
            self.metadata.units().saturating_add(more),
            self.metadata.free().saturating_add(more),
        );
    }

    /// Sets the label, in one copy of the superblock after the other: whole as they are, the first
    /// one counts.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if it is too long.
    /// - `EIO` if no copy can be written.
    pub(crate) fn set_label(&mut self, label: &[u8]) -> Result {
        let before = *self.metadata.superblock();
        let label = Superblock::padded_label(label).ok_or(EINVAL)?;

        self.metadata.set_superblock(Superblock { label, ..before });

        let mut is_written = false;

        for copy in 0..COPIES {
            // What is bad is written when it is mended.
            let block = self.metadata.geometry().superblock(copy);
            let is_bad = self.metadata.bad.contains(block);

            if !is_bad && self.mend_superblock(copy).is_ok() {
                self.volume.fence()?;
                is_written = true;
            }
        }
        if !is_written {
            self.metadata.set_superblock(before);
            return Err(EIO);
        }
        self.view.change().superblock = *self.metadata.superblock();
        Ok(())
    }

    /// Changes mode, owners and times of an inode, which the VFS counts.
    pub(crate) fn write_inode(&mut self, number: u64, attributes: &Attributes) -> Result {
        self.begin()?;
        self.edit_uncounted(number, |inode| {
            inode.mode = attributes.mode;
            inode.uid = attributes.uid;
            inode.gid = attributes.gid;
            inode.version = inode.version.max(attributes.version);
            inode.accessed = from_vfs(attributes.accessed);
            inode.modified = from_vfs(attributes.modified);
            inode.changed = from_vfs(attributes.changed);
        })?;
        self.commit(|_| {})
    }

    /// Sets the flags of an inode.
    pub(crate) fn set_flags(&mut self, number: u64, flags: u32, now: Time) -> Result {
        self.begin()?;
        self.edit(number, |inode| {
            inode.flags = flags;
            inode.changed = from_vfs(now);
        })?;
        self.commit(|_| {})
    }
}
