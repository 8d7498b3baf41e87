// SPDX-License-Identifier: GPL-2.0

//! A mounted filesystem: who may read and who may change it, and who waits.

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
    /// Held by who changes something, as long as that takes.
    #[pin]
    phase: Mutex<Phase>,
    /// What all others see, once it is loaded.
    pub(crate) view: SetOnce<Reader<View>>,
    /// Where changes wait for what must be repaired before them.
    #[pin]
    pub(crate) repaired: WaitQueue,
}

/// What a filesystem is doing.
pub(crate) enum Phase {
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
    pub(crate) fn loaded(&mut self) -> Result<&mut State> {
        match self {
            Self::Loading { .. } => Err(EAGAIN),
            Self::Loaded(state) => Ok(state),
        }
    }
}

impl Mendfs {
    /// One that is being loaded.
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

    /// Calls `f` with the phase, locked. Who reclaims memory may need the lock.
    pub(crate) fn with_phase<R>(&self, f: impl FnOnce(&mut MutexGuard<'_, Phase>) -> R) -> R {
        fs::without_reclaim(|| f(&mut self.phase.lock()))
    }

    /// Looks at what readers see.
    ///
    /// # Errors
    ///
    /// - `EIO` if the filesystem is shut down.
    /// - `EAGAIN` if it is not loaded yet.
    /// - What `read` returns.
    pub(crate) fn read<R>(&self, read: impl FnOnce(&View) -> Result<R>) -> Result<R> {
        fs::without_reclaim(|| self.read_noalloc(read))
    }

    /// Looks at what readers see, without memory to allocate.
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

    /// Looks at what readers see, even if the filesystem is shut down, and without memory to
    /// allocate: who reclaims memory may need to change it.
    ///
    /// # Errors
    ///
    /// - `EAGAIN` if it is not loaded yet.
    pub(crate) fn read_noalloc_any<R>(&self, read: impl FnOnce(&View) -> R) -> Result<R> {
        Ok(read(&self.view.as_ref().ok_or(EAGAIN)?.read()))
    }

    /// Changes the state. Waits while both copies of something that it may write are bad.
    ///
    /// # Errors
    ///
    /// - `EINTR` if somebody kills us while we wait.
    /// - `EIO` if it takes too long.
    /// - As [`read()`](Self::read).
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut State) -> Result<R>) -> Result<R> {
        fs::without_reclaim(|| loop {
            let mut phase = self.phase.lock();
            let state = phase.loaded()?;

            state.view.check()?;
            match state.time_to_wait()? {
                None => {
                    state.remove_unused_if_full()?;

                    let result = change(state);

                    // What it has left behind is free at once. If not, the next one says why.
                    if result.is_err() {
                        let _ = state.begin_change();
                    }
                    state.count();
                    return result;
                }
                Some(rest) => self.repaired.wait(rest, || drop(phase))?,
            }
        })
    }

    /// Changes the state, even if the filesystem is shut down.
    ///
    /// # Errors
    ///
    /// - `EAGAIN` if it is not loaded yet.
    /// - What `change` returns.
    pub(crate) fn change_any<R>(&self, change: impl FnOnce(&mut State) -> Result<R>) -> Result<R> {
        self.with_phase(|phase| {
            let state = phase.loaded()?;
            let result = change(state);

            state.count();
            result
        })
    }

    /// Keeps a failure until the filesystem is loaded. Returns false if it is.
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

    /// Begins to use what was loaded, and deals with what has failed in the meantime.
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
            state.count();
            self.view.populate(state.view.reader());
            **phase = Phase::Loaded(state);
            Ok(())
        })
    }
}
