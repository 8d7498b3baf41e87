// SPDX-License-Identifier: GPL-2.0

//! A filesystem for DAX memory. Its reverse map has the owners of each block, so it signals the
//! processes that map a block when the block fails.
//!
//! See `Documentation/mendfs.rst`.

mod blocks;
mod change;
mod damage;
pub mod format;
mod incore;
mod mount;
mod mounted;
mod ops;
mod poison;
mod store;

use daxmf::{
    fs::{
        self,
        Attributes,
        Entry,
        FileSystem,
        Inode,
        Label,
        Mapping,
        Place,
        Purpose,
        Rename,
        RepairWork,
        Segment,
        SegmentStart,
        Statistics,
        SuperBlock,
        Time,
        Volume, //
    },
    interval_tree::Vacant,
    memory_failure::{
        Flags,
        Outcome, //
    },
    range::{
        self,
        ByteRange, //
    },
};
use kernel::{
    prelude::*,
    sync::Arc,
    time::{
        delay::fsleep,
        Delta, //
    },
};

use crate::{
    blocks::{
        blocks,
        intersection, //
    },
    mount::{
        load::read_filesystem,
        orphans::remove_orphans, //
    },
    mounted::Mendfs,
    ops::{
        map::is_sufficient,
        rename::Move, //
    },
};

module! {
    type: Module,
    name: "mendfs",
    authors: ["The daxmf developers"],
    description: "DAX filesystem that notifies the owners of failed memory",
    license: "GPL",
    alias: ["fs-mendfs"],
}

struct Module {
    _registration: fs::Registration<Mendfs>,
}

impl kernel::Module for Module {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self {
            _registration: fs::Registration::new()?,
        })
    }
}

impl FileSystem for Mendfs {
    const NAME: &'static CStr = c"mendfs";
    const MAGIC: u32 = u32::from_le_bytes(*b"mend");
    const ROOT: u64 = format::ROOT;
    const NAME_MAX: usize = format::NAME_MAX;
    const NOTIFY_FOUND: bool = true;

    type OwnerModule = LocalModule;

    fn new(volume: Volume, repair_work: RepairWork) -> Result<Arc<Self>> {
        Self::loading(volume, repair_work)
    }

    fn load(&self) -> Result {
        let load = || read_filesystem(&self.volume, &self.repair_work);

        // Load without reclaim, because loading allocates memory while it holds the lock of
        // readers.
        self.finish_load(fs::without_reclaim(load)?)?;

        if self.volume.is_read_only() {
            return Ok(());
        }
        // The repair work starts only after this function has returned, so repair here. A block can
        // be repaired one second after its failure, so wait that long.
        while !self.change_any(remove_orphans)? {
            fsleep(Delta::from_secs(1));
            self.repair_all();
        }
        Ok(())
    }

    fn notify_failure(
        &self,
        super_block: &SuperBlock<Self>,
        range: ByteRange<range::space::Volume>,
        flags: Flags,
    ) -> Outcome {
        // Before the filesystem is loaded, no process can have mapped a file. So there is no
        // process to signal.
        let result = match self.defer_failure(range, flags) {
            Ok(false) => self.notify_owners(super_block, range, flags),
            deferred => deferred.map(|_| ()),
        };

        result.into()
    }

    fn repair(&self, _super_block: &SuperBlock<Self>) {
        self.repair_all();
    }

    fn statistics(&self) -> Statistics {
        self.read_noalloc(|view| Ok(view.statistics()))
            .unwrap_or_default()
    }

    fn sync(&self) -> Result {
        self.change_any(|state| {
            state.view.check()?;
            match state.must_repair_first() {
                true => Ok(()),
                false => state.remove_unused(),
            }
        })?;
        self.volume.flush()
    }

    fn shut_down(&self) {
        self.with_phase(|phase| {
            if let Ok(state) = phase.loaded() {
                state.view.change().shut_down("FS_IOC_SHUTDOWN");
            }
        });
        self.repaired.notify_all();
    }

    fn label(&self) -> Result<[u8; fs::FSLABEL_MAX]> {
        self.read_noalloc(|view| {
            let mut label = [0; fs::FSLABEL_MAX];

            for (to, from) in label.iter_mut().zip(view.superblock.label) {
                *to = from;
            }
            Ok(label)
        })
    }

    fn set_label(&self, label: &[u8]) -> Result {
        self.change(|state| state.set_label(label))
    }

    fn grow(&self, blocks: u64) -> Result {
        self.change(|state| state.grow_to(blocks))
    }

    fn segments(&self, first: SegmentStart, emit: &mut dyn FnMut(Segment) -> bool) -> Result {
        self.read(|view| view.segments(first, emit))
    }

    fn read_inode(&self, number: u64) -> Result<Attributes> {
        self.read_noalloc(|view| match view.node(number)? {
            node if node.awaits_eviction => Err(ESTALE),
            node => Ok(node.attributes()),
        })
    }

    fn write_inode(&self, inode: &Inode<Self>) -> Result {
        self.change(|state| state.write_inode(inode.number(), &inode.attributes()))
    }

    fn set_flags(&self, inode: &Inode<Self>, flags: u32, now: Time) -> Result {
        self.change(|state| state.set_flags(inode.number(), flags, now))
    }

    fn evict(&self, number: u64) {
        let mut result = Ok(true);

        // Release the lock after each transaction, so that other changes can run in between.
        while let Ok(true) = result {
            result = self.change_any(|state| {
                state.view.check()?;
                state.evict(number)
            });
        }
        match result {
            // After a shutdown nothing can be removed, and the shutdown was logged already.
            Ok(_) | Err(EIO) => {}
            Err(error) => pr_warn!(
                "{}: inode {number} cannot be removed before the next mount: {error:?}\n",
                self.volume
            ),
        }
    }

    fn lookup(&self, directory: &Inode<Self>, name: &[u8]) -> Result<Option<u64>> {
        self.read_noalloc(|view| {
            let found = view.find_name(directory.number(), name)?;

            Ok(found.map(|(_, name)| name.target))
        })
    }

    fn read_directory(
        &self,
        directory: &Inode<Self>,
        position: u64,
        emit: &mut dyn FnMut(Entry<'_>) -> bool,
    ) -> Result {
        self.read(|view| view.read_directory(directory.number(), position, emit))
    }

    fn parent(&self, directory: &Inode<Self>) -> Result<u64> {
        self.read_noalloc(|view| Ok(view.node(directory.number())?.inode.parent))
    }

    fn create(
        &self,
        place: Option<(&Inode<Self>, &[u8])>,
        attributes: &Attributes,
        target: Option<&[u8]>,
        labels: &[Label],
    ) -> Result<u64> {
        let place = place.map(|(directory, name)| (directory.number(), name));

        self.change(|state| state.create(place, attributes, target, labels))
    }

    fn link(&self, inode: &Inode<Self>, directory: &Inode<Self>, name: &[u8], now: Time) -> Result {
        self.change(|state| state.link(inode.number(), directory.number(), name, now))
    }

    fn unlink(
        &self,
        directory: &Inode<Self>,
        name: &[u8],
        inode: &Inode<Self>,
        now: Time,
    ) -> Result {
        self.change(|state| state.unlink(directory.number(), name, inode.number(), now))
    }

    fn rename(&self, rename: &Rename<'_, Self>) -> Result {
        let it = Move {
            from: rename.from.number(),
            name: rename.name,
            inode: rename.inode.number(),
            to: rename.to.number(),
            new_name: rename.new_name,
            replaced: rename.replaced.map(Inode::number),
            whiteout: rename.whiteout.as_ref(),
            now: rename.now,
        };

        self.change(|state| match it.replaced {
            Some(other) if rename.exchange => state.exchange(&it, other),
            _ => state.rename(&it),
        })
    }

    fn target(&self, number: u64) -> Result<KVec<u8>> {
        self.read(|view| view.target(number))
    }

    fn attribute(&self, inode: &Inode<Self>, name: &[u8]) -> Result<KVec<u8>> {
        self.read(|view| view.attribute(inode.number(), name))
    }

    fn set_attribute(
        &self,
        inode: &Inode<Self>,
        name: &[u8],
        value: Option<&[u8]>,
        must_exist: Option<bool>,
        now: Time,
    ) -> Result {
        self.change(|state| state.set_attribute(inode.number(), name, value, must_exist, now))
    }

    fn attributes(&self, inode: &Inode<Self>, emit: &mut dyn FnMut(&[u8]) -> Result) -> Result {
        self.read(|view| view.attributes(inode.number(), emit))
    }

    fn map(
        &self,
        inode: &Inode<Self>,
        range: ByteRange<range::space::File>,
        purpose: Purpose,
    ) -> Result<Mapping> {
        let number = inode.number();

        loop {
            let found = self.read_noalloc(|view| view.find(number, range))?;

            if is_sufficient(&found, range, purpose) {
                return Ok(found);
            }

            let mapped = match found.place {
                Place::Hole => self.fill(
                    number,
                    intersection(&blocks(found.range), &blocks(range)),
                    None,
                ),
                _ => self.change(|state| state.map(number, range, purpose)),
            };

            // Without a mapping, try again: a page fault has changed the place meanwhile, or the
            // new blocks have failed.
            if let Some(mapped) = mapped? {
                return Ok(mapped);
            }
        }
    }

    fn begin_read(
        &self,
        inode: &Inode<Self>,
        range: ByteRange<range::space::File>,
    ) -> Result<Mapping> {
        let number = inode.number();
        let found = self.read_noalloc(|view| view.find(number, range))?;

        match found.place {
            Place::Mapped {
                is_shared: true, ..
            } => {
                let vacant = Vacant::new(GFP_KERNEL)?;

                // Find the place again, because it can have changed without the lock.
                self.read_noalloc(|view| view.begin_read(number, range, vacant))
            }
            _ => Ok(found),
        }
    }

    fn end_read(&self, _inode: &Inode<Self>, range: ByteRange<range::space::File>, start: u64) {
        if let Ok(true) = self.read_noalloc_any(|view| view.end_read(range, start)) {
            return;
        }
        if let Err(error) = self.change_any(|state| state.end_read(range, start)) {
            pr_warn!(
                "{}: blocks that a read has used stay reserved until the next mount: {error:?}\n",
                self.volume
            );
        }
    }

    fn end_copy(
        &self,
        inode: &Inode<Self>,
        range: ByteRange<range::space::File>,
        is_done: bool,
    ) -> Result {
        // The copy has failed. The block stays reserved for the next try, because a page table
        // entry can point to it.
        if !is_done {
            return Ok(());
        }
        self.change(|state| state.end_copy(inode.number(), range))
    }

    fn unshare(&self, inode: &Inode<Self>, range: ByteRange<range::space::File>) -> Result {
        while self.unshare_first(inode.number(), range)? {}
        Ok(())
    }

    fn resize(&self, inode: &Inode<Self>, size: u64, now: Time) -> Result {
        while self.change(|state| state.resize(inode.number(), size, now))? {}
        Ok(())
    }

    fn punch(
        &self,
        inode: &Inode<Self>,
        range: ByteRange<range::space::File>,
        now: Option<Time>,
    ) -> Result {
        while self.change(|state| state.punch(inode.number(), range, now))? {}
        Ok(())
    }

    fn allocate(
        &self,
        inode: &Inode<Self>,
        range: ByteRange<range::space::File>,
        now: Time,
    ) -> Result {
        let (number, file) = (inode.number(), blocks(range));

        while let Some(hole) = self.read_noalloc(|view| view.first_hole(number, file.clone()))? {
            self.fill(number, hole, Some(now))?;
        }
        Ok(())
    }

    fn move_contents(
        &self,
        inode: &Inode<Self>,
        from: u64,
        to: u64,
        size: u64,
        now: Time,
    ) -> Result {
        let number = inode.number();
        let mut shift = self.change(|state| state.start_shift(number, from, to, size, now))?;

        // Release the lock after each transaction, so that other changes can run in between.
        while self.change(|state| state.continue_shift(number, &mut shift))? {}
        match to < from {
            true => self.resize(inode, size, now),
            false => Ok(()),
        }
    }

    fn share(
        &self,
        from: &Inode<Self>,
        range: ByteRange<range::space::File>,
        to: &Inode<Self>,
        start: u64,
        now: Option<Time>,
    ) -> Result<u64> {
        self.change(|state| state.share(from.number(), range, to.number(), start, now))
    }
}
