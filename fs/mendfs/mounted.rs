// SPDX-License-Identifier: GPL-2.0

//! A mounted filesystem, and its locks for reads and for changes.

use daxmf::{
    fs::{
        self,
        RepairWork,
        Volume, //
    },
    memory_failure::Flags,
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
};

use crate::{
    blocks::blocks,
    change::state::State,
    incore::view::View, //
};

/// A mounted filesystem.
#[pin_data]
pub(crate) struct Mendfs {
    pub(crate) volume: Arc<Volume>,
    pub(crate) repair_work: RepairWork,
    /// Each change holds the lock from its start to its end.
    #[pin]
    phase: Mutex<Phase>,
    /// The state that readers see. Empty until the filesystem is loaded.
    pub(crate) view: SetOnce<Reader<View>>,
    /// Changes wait here until bad copies are repaired.
    #[pin]
    pub(crate) repaired: WaitQueue,
}

/// The phase of a mount.
pub(crate) enum Phase {
    /// The filesystem is being loaded.
    Loading {
        /// Memory failures since the start of the load.
        failures: KVec<ByteRange<range::space::Volume>>,
        /// Whether the device is about to be removed.
        is_removed: bool,
    },
    /// The filesystem can be used.
    Loaded(State),
}

impl Phase {
    /// The state, if the filesystem is loaded.
    ///
    /// # Errors
    ///
    /// - `EAGAIN` if the filesystem is not loaded yet.
    pub(crate) fn loaded(&mut self) -> Result<&mut State> {
        match self {
            Self::Loading { .. } => Err(EAGAIN),
            Self::Loaded(state) => Ok(state),
        }
    }
}

impl Mendfs {
    /// Creates a filesystem in [`Phase::Loading`].
    pub(crate) fn loading(volume: Volume, repair_work: RepairWork) -> Result<Arc<Self>> {
        let volume = Arc::new(volume, GFP_KERNEL)?;

        Arc::pin_init(
            pin_init!(Self {
                volume,
                repair_work,
                view: SetOnce::new(),
                phase <- new_mutex!(Phase::Loading {
                    failures: KVec::new(),
                    is_removed: false,
                }),
                repaired <- WaitQueue::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// Calls `f` with the locked phase. `f` runs without reclaim from filesystems, because reclaim
    /// can evict an inode, which needs the lock.
    pub(crate) fn with_phase<R>(&self, f: impl FnOnce(&mut MutexGuard<'_, Phase>) -> R) -> R {
        fs::without_reclaim(|| f(&mut self.phase.lock()))
    }

    /// Calls `read` with the state that readers see.
    ///
    /// # Errors
    ///
    /// - `EIO` if the filesystem is shut down.
    /// - `EAGAIN` if the filesystem is not loaded yet.
    /// - The errors of `read`.
    pub(crate) fn read<R>(&self, read: impl FnOnce(&View) -> Result<R>) -> Result<R> {
        fs::without_reclaim(|| self.read_noalloc(read))
    }

    /// Calls `read` with the state that readers see. `read` must not allocate memory.
    ///
    /// # Errors
    ///
    /// - As [`read()`](Self::read).
    pub(crate) fn read_noalloc<R>(&self, read: impl FnOnce(&View) -> Result<R>) -> Result<R> {
        self.read_noalloc_any(|view| {
            view.check()?;
            read(view)
        })?
    }

    /// Calls `read` with the state that readers see, even if the filesystem is shut down. `read`
    /// must not allocate memory, because reclaim can evict an inode, which changes the state.
    ///
    /// # Errors
    ///
    /// - `EAGAIN` if the filesystem is not loaded yet.
    pub(crate) fn read_noalloc_any<R>(&self, read: impl FnOnce(&View) -> R) -> Result<R> {
        Ok(read(&self.view.as_ref().ok_or(EAGAIN)?.read()))
    }

    /// Calls `change` with the state. If both copies of a block that the change could write are
    /// bad, first waits for their repair.
    ///
    /// # Errors
    ///
    /// - `EINTR` if a fatal signal ends the wait.
    /// - `EIO` if the repair takes too long, or the filesystem is shut down.
    /// - `EAGAIN` if the filesystem is not loaded yet.
    /// - The errors of `change`.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut State) -> Result<R>) -> Result<R> {
        fs::without_reclaim(|| loop {
            let mut phase = self.phase.lock();
            let state = phase.loaded()?;

            state.view.check()?;
            match state.time_to_wait()? {
                None => {
                    state.remove_unused_if_full()?;

                    let result = change(state);

                    // Undo the failed change now, so that its blocks are free at once. Ignore an
                    // error: it means a shutdown, which the next change reports.
                    if result.is_err() {
                        let _ = state.begin_change();
                    }
                    state.update_counts();
                    return result;
                }
                Some(rest) => self.repaired.wait(rest, || drop(phase))?,
            }
        })
    }

    /// Calls `change` with the state, even if the filesystem is shut down, and without a wait for
    /// repairs.
    ///
    /// # Errors
    ///
    /// - `EAGAIN` if the filesystem is not loaded yet.
    /// - The errors of `change`.
    pub(crate) fn change_any<R>(&self, change: impl FnOnce(&mut State) -> Result<R>) -> Result<R> {
        self.with_phase(|phase| {
            let state = phase.loaded()?;
            let result = change(state);

            state.update_counts();
            result
        })
    }

    /// Stores a failure until the filesystem is loaded. Returns false, without storing it, if the
    /// filesystem is loaded already.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub(crate) fn defer_failure(
        &self,
        range: ByteRange<range::space::Volume>,
        flags: Flags,
    ) -> Result<bool> {
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

    /// Notes the failures since the start of the load in `state`. Then makes `state` visible to
    /// readers.
    ///
    /// # Errors
    ///
    /// - `ENXIO` if the device is about to be removed.
    /// - `ENOMEM` if memory is short.
    pub(crate) fn finish_load(&self, mut state: State) -> Result {
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
                    state.note_failure(&blocks(*range))?;
                }
            }
            state.update_counts();
            self.view.populate(state.view.reader());
            **phase = Phase::Loaded(state);
            Ok(())
        })
    }
}
