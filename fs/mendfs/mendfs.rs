// SPDX-License-Identifier: GPL-2.0

//! A filesystem for DAX memory that knows who owns each block, and tells them when it fails.
//!
//! See `Documentation/mendfs.rst`.

mod bad;
mod contents;
mod failure;
pub mod format;
mod grow;
mod inodes;
mod journal;
mod load;
mod metadata;
mod names;
mod owners;
mod readers;
mod segments;
mod space;
mod state;
mod suspects;
mod table;
mod tree;
mod view;

use daxmf::{
    fs::{
        self,
        Attributes,
        Entry,
        FileSystem,
        Inode,
        Label,
        Mapping,
        Mending,
        Place,
        Purpose,
        Rename,
        Segment,
        SegmentPosition,
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
    single_writer::Reader,
    wait::WaitQueue, //
};
use kernel::{
    prelude::*,
    sync::{
        new_mutex,
        Arc,
        Mutex,
        MutexGuard,
        SetOnce, //
    },
    time::{
        delay::fsleep,
        Delta, //
    },
};

use crate::{
    names::Move,
    state::State,
    view::View, //
};

module! {
    type: Module,
    name: "mendfs",
    authors: ["The daxmf developers"],
    description: "DAX filesystem that tells the owners of failed memory",
    license: "GPL",
    alias: ["fs-mendfs"],
}

#[pin_data]
struct Module {
    #[pin]
    _registration: fs::Registration<Mendfs>,
}

impl kernel::InPlaceModule for Module {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _registration <- fs::Registration::new(),
        })
    }
}

/// A mounted filesystem.
#[pin_data]
pub(crate) struct Mendfs {
    volume: Arc<Volume>,
    mending: Mending,
    /// Held by who changes something, as long as that takes.
    #[pin]
    phase: Mutex<Phase>,
    /// What all others see, once it is loaded.
    view: SetOnce<Reader<View>>,
    /// Where changes wait for what must be mended before them.
    #[pin]
    mended: WaitQueue,
}

/// What a filesystem is doing.
enum Phase {
    /// It is being loaded. Memory has failed in the meantime, or is about to be removed.
    Loading {
        failures: KVec<ByteRange<range::space::Volume>>,
        is_removed: bool,
    },
    /// It can be used.
    Loaded(State),
}

impl Phase {
    /// # Errors
    ///
    /// - `EAGAIN` if it is not loaded yet.
    fn loaded(&mut self) -> Result<&mut State> {
        match self {
            Self::Loading { .. } => Err(EAGAIN),
            Self::Loaded(state) => Ok(state),
        }
    }
}

impl Mendfs {
    /// Calls `f` with the phase, locked. Who reclaims memory may need the lock.
    fn with_phase<R>(&self, f: impl FnOnce(&mut MutexGuard<'_, Phase>) -> R) -> R {
        fs::without_reclaim(|| f(&mut self.phase.lock()))
    }

    /// Looks at what readers see, even if the filesystem is shut down, and without memory to
    /// allocate: who reclaims memory may need to change it.
    ///
    /// # Errors
    ///
    /// - `EAGAIN` if it is not loaded yet.
    fn look_any<R>(&self, look: impl FnOnce(&View) -> R) -> Result<R> {
        Ok(look(&self.view.as_ref().ok_or(EAGAIN)?.read()))
    }

    /// Looks at what readers see, without memory to allocate.
    ///
    /// # Errors
    ///
    /// - As [`read()`](Self::read).
    fn look<R>(&self, look: impl FnOnce(&View) -> Result<R>) -> Result<R> {
        self.look_any(|view| {
            view.check()?;
            look(view)
        })?
    }

    /// Looks at what readers see.
    ///
    /// # Errors
    ///
    /// - `EIO` if the filesystem is shut down.
    /// - `EAGAIN` if it is not loaded yet.
    /// - What `read` returns.
    fn read<R>(&self, read: impl FnOnce(&View) -> Result<R>) -> Result<R> {
        fs::without_reclaim(|| self.look(read))
    }

    /// Changes the state. Waits while both copies of something that it may write are bad.
    ///
    /// # Errors
    ///
    /// - `EINTR` if somebody kills us while we wait.
    /// - `EIO` if it takes too long.
    /// - As [`read()`](Self::read).
    fn change<R>(&self, change: impl FnOnce(&mut State) -> Result<R>) -> Result<R> {
        fs::without_reclaim(|| loop {
            let mut phase = self.phase.lock();
            let state = phase.loaded()?;

            state.view.check()?;
            match state.time_to_wait()? {
                None => {
                    let result = change(state);

                    // What it has left behind is free at once. If not, the next one says why.
                    if result.is_err() {
                        let _ = state.begin();
                    }
                    state.count();
                    return result;
                }
                Some(rest) => self.mended.wait(rest, || drop(phase))?,
            }
        })
    }

    /// Changes the state, even if the filesystem is shut down.
    ///
    /// # Errors
    ///
    /// - `EAGAIN` if it is not loaded yet.
    /// - What `change` returns.
    fn change_any<R>(&self, change: impl FnOnce(&mut State) -> Result<R>) -> Result<R> {
        self.with_phase(|phase| {
            let state = phase.loaded()?;
            let result = change(state);

            state.count();
            result
        })
    }

    /// Keeps a failure until the filesystem is loaded. Returns false if it is.
    fn keep(&self, range: ByteRange<range::space::Volume>, flags: Flags) -> Result<bool> {
        self.with_phase(|phase| match &mut **phase {
            Phase::Loading {
                failures,
                is_removed,
            } => {
                *is_removed |= flags.contains(Flags::MEM_PRE_REMOVE);
                failures.push(range, GFP_KERNEL)?;
                Ok(true)
            }
            Phase::Loaded(_) => Ok(false),
        })
    }

    /// Begins to use what was loaded, and deals with what has failed in the meantime.
    fn begin(&self, mut state: State) -> Result {
        self.with_phase(|phase| {
            if let Phase::Loading {
                failures,
                is_removed,
            } = &**phase
            {
                if *is_removed {
                    return Err(ENXIO);
                }
                for range in failures {
                    state.note_failure(&contents::blocks(*range))?;
                }
            }
            state.count();
            self.view.populate(state.view.reader());
            **phase = Phase::Loaded(state);
            Ok(())
        })
    }
}

impl FileSystem for Mendfs {
    const NAME: &'static CStr = c"mendfs";
    const MAGIC: u32 = u32::from_le_bytes(*b"mend");
    const ROOT: u64 = format::ROOT;
    const NAME_MAX: usize = format::NAME_MAX;
    const WANTS_FOUND: bool = true;

    type OwnerModule = LocalModule;

    fn new(volume: Volume, mending: Mending) -> Result<Arc<Self>> {
        let volume = Arc::new(volume, GFP_KERNEL)?;

        Arc::pin_init(
            pin_init!(Self {
                volume,
                mending,
                view: SetOnce::new(),
                phase <- new_mutex!(Phase::Loading {
                    failures: KVec::new(),
                    is_removed: false,
                }),
                mended <- WaitQueue::new(),
            }),
            GFP_KERNEL,
        )
    }

    fn load(&self) -> Result {
        let load = || load::load(&self.volume, &self.mending);

        // It fills what readers see, with their lock.
        self.begin(fs::without_reclaim(load)?)?;

        if self.volume.is_read_only() {
            return Ok(());
        }
        // Nobody mends it for us yet. What has just failed is mended a second later.
        while !self.change_any(load::remove_orphans)? {
            fsleep(Delta::from_secs(1));
            self.mend_all();
        }
        Ok(())
    }

    fn notify_failure(
        &self,
        super_block: &SuperBlock<Self>,
        range: ByteRange<range::space::Volume>,
        flags: Flags,
    ) -> Outcome {
        // Nobody has anything mapped before it is loaded.
        let result = match self.keep(range, flags) {
            Ok(false) => self.deal_with(super_block, range, flags),
            kept => kept.map(|_| ()),
        };

        result.into()
    }

    fn mend(&self, _super_block: &SuperBlock<Self>) {
        self.mend_all();
    }

    fn statistics(&self) -> Statistics {
        self.look(|view| Ok(view.statistics())).unwrap_or_default()
    }

    fn sync(&self) -> Result {
        self.look(|_| Ok(()))?;
        self.volume.flush()
    }

    fn shut_down(&self) {
        self.with_phase(|phase| {
            if let Ok(state) = phase.loaded() {
                state.view.change().shut_down("FS_IOC_SHUTDOWN");
            }
        });
        self.mended.notify_all();
    }

    fn label(&self) -> Result<[u8; fs::FSLABEL_MAX]> {
        self.look(|view| {
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

    fn segments(&self, from: SegmentPosition, emit: &mut dyn FnMut(Segment) -> bool) -> Result {
        self.read(|view| view.segments(from, emit))
    }

    fn read_inode(&self, number: u64) -> Result<Attributes> {
        self.look(|view| match view.node(number)? {
            node if node.is_left => Err(ESTALE),
            node => Ok(node.attributes()),
        })
    }

    fn write_inode(&self, inode: &Inode<Self>, attributes: &Attributes) -> Result {
        self.change(|state| state.write_inode(inode.number(), attributes))
    }

    fn set_flags(&self, inode: &Inode<Self>, flags: u32, now: Time) -> Result {
        self.change(|state| state.set_flags(inode.number(), flags, now))
    }

    fn evict(&self, number: u64) {
        let mut result = Ok(true);

        // The lock is given up in between.
        while let Ok(true) = result {
            result = self.change_any(|state| {
                state.view.check()?;
                state.evict(number)
            });
        }
        match result {
            // Without a change, nothing goes.
            Ok(_) | Err(EIO) => {}
            Err(error) => pr_warn!(
                "{}: inode {number} stays until the next mount: {error:?}\n",
                self.volume
            ),
        }
    }

    fn lookup(&self, directory: &Inode<Self>, name: &[u8]) -> Result<Option<u64>> {
        self.look(|view| {
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
        self.look(|view| Ok(view.node(directory.number())?.inode.parent))
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
        is_there: Option<bool>,
        now: Time,
    ) -> Result {
        self.change(|state| state.set_attribute(inode.number(), name, value, is_there, now))
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
            let found = self.look(|view| view.find(number, range))?;

            if contents::is_answer(&found, range, purpose) {
                return Ok(found);
            }

            let made = match found.place {
                Place::Hole => self.fill(
                    number,
                    contents::common(&contents::blocks(found.range), &contents::blocks(range)),
                    None,
                ),
                _ => self.change(|state| state.map(number, range, purpose)),
            };

            // A page fault may have changed the place, or the memory has failed.
            if let Some(made) = made? {
                return Ok(made);
            }
        }
    }

    fn begin_read(
        &self,
        inode: &Inode<Self>,
        range: ByteRange<range::space::File>,
    ) -> Result<Mapping> {
        let number = inode.number();
        let found = self.look(|view| view.find(number, range))?;

        match found.place {
            Place::Mapped {
                is_shared: true, ..
            } => {
                let room = Vacant::new(GFP_KERNEL)?;

                // It may lie elsewhere by now.
                self.look(|view| view.begin_read(number, range, room))
            }
            _ => Ok(found),
        }
    }

    fn end_read(&self, _inode: &Inode<Self>, range: ByteRange<range::space::File>, start: u64) {
        if let Ok(true) = self.look_any(|view| view.end_read(range, start)) {
            return;
        }
        if let Err(error) = self.change_any(|state| state.end_read(range, start)) {
            pr_warn!(
                "{}: blocks that were read stay reserved until the next mount: {error:?}\n",
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
        // Without the contents the block stays reserved for the next try.
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
        now: Time,
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
        let (number, file) = (inode.number(), contents::blocks(range));

        while let Some(hole) = self.look(|view| view.first_hole(number, file.clone()))? {
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
        let mut moving = self.change(|state| state.begin_move(number, from, to, size, now))?;

        // The lock is given up in between.
        while self.change(|state| state.go_on_moving(number, &mut moving))? {}
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
        now: Time,
    ) -> Result<u64> {
        self.change(|state| state.share(from.number(), range, to.number(), start, now))
    }
}
