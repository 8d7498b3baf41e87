// SPDX-License-Identifier: GPL-2.0

//! The work that a filesystem does about a second after its memory has failed.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use core::ptr::NonNull;

use kernel::{
    prelude::*,
    sync::Arc,
    time::{
        delay::fsleep,
        msecs_to_jiffies,
        Delta,
        Instant,
        Monotonic,
        Msecs, //
    },
    types::Opaque, //
};

use crate::{
    bindings,
    work, //
};

/// The time of a failure of a page.
///
/// After `memory_failure()` has returned, the machine check handler can remove the page from the
/// kernel's linear map. A repair makes the page present again, so it must come after that.
///
/// # Examples
///
/// ```
/// use daxmf::fs::FailedAt;
///
/// // A page cannot be repaired immediately after its failure.
/// assert!(!FailedAt::now().is_delay_over());
/// ```
#[derive(Clone, Copy)]
pub struct FailedAt(Instant<Monotonic>);

impl FailedAt {
    /// One second, in milliseconds: long enough for the machine check handler to return.
    const MSECS: Msecs = 1000;

    const DELAY: Delta = Delta::from_millis(Self::MSECS as i64);

    /// The current time.
    pub fn now() -> Self {
        Self(Instant::now())
    }

    /// Whether the page can be repaired, because a second has passed since the failure.
    pub fn is_delay_over(self) -> bool {
        self.0.elapsed() >= Self::DELAY
    }
}

/// A handle that schedules [`FileSystem::repair()`](super::FileSystem::repair).
///
/// # Examples
///
/// ```
/// use daxmf::fs::RepairWork;
///
/// /// Schedules the repair of a bad block that has no owner any more.
/// fn free_block(suspects: &mut KVec<u64>, block: u64, repair_work: &RepairWork) -> Result {
///     suspects.push(block, GFP_KERNEL)?;
///     repair_work.schedule();
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct RepairWork(Arc<Work>);

impl RepairWork {
    /// Schedules a call in one second. Does nothing if a call is already scheduled, or if the
    /// filesystem is unmounted. Does nothing before [`load()`](super::FileSystem::load) has
    /// returned, because a call follows `load()` anyway.
    pub fn schedule(&self) {
        self.0.queue();
    }
}

/// Work that calls a function one second after it was queued. No call starts after
/// [`finish()`](Self::finish), which the drop calls.
///
/// Repairs and `finish_failures()` have separate work items, because they must not wait for each
/// other. A thread that changes a file can wait for a repair of metadata while it holds the locks
/// of the file, and `finish_failures()` takes these locks to invalidate pages.
pub(super) struct DelayedWork(Arc<Work>);

impl DelayedWork {
    /// Creates work that calls `run` with `super_block`. The work is disabled until
    /// [`start()`](Self::start).
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    ///
    /// # Safety
    ///
    /// `run` must be callable for `super_block` from [`start()`](Self::start) until the work is
    /// finished or dropped.
    pub(super) unsafe fn new(
        super_block: NonNull<bindings::super_block>,
        run: Run,
    ) -> Result<Self> {
        // INVARIANT: `init()` initializes `work`, with `call()` as its function. `start()` enables
        // the work, and `finish()` disables it.
        let work = pin_init!(Work {
            work <- Opaque::ffi_init(|slot| {
                // SAFETY: `slot` is valid for writes and pinned.
                unsafe { init(slot) }
            }),
            run,
            super_block,
        });

        Ok(Self(Arc::pin_init(work, GFP_KERNEL)?))
    }

    /// The handle with which the filesystem schedules a call.
    pub(super) fn handle(&self) -> RepairWork {
        RepairWork(self.0.clone())
    }

    /// Schedules a call in one second, unless an earlier one is scheduled.
    pub(super) fn queue(&self) {
        self.0.queue();
    }

    /// Enables calls, and schedules the first one.
    pub(super) fn start(&self) {
        // SAFETY: `work` is initialized by the type invariants of `Work`.
        unsafe { bindings::enable_delayed_work(self.0.work.get()) };
        self.0.queue();
    }

    /// Runs a scheduled call now, and waits for the call. If that call schedules another one, waits
    /// a second and runs that, too. No call starts after this returns.
    pub(super) fn finish(&self) {
        self.flush();
        if self.0.is_pending() {
            fsleep(FailedAt::DELAY);
            self.flush();
        }
        // SAFETY: `work` is initialized by the type invariants of `Work`.
        unsafe { bindings::disable_delayed_work_sync(self.0.work.get()) };
    }

    fn flush(&self) {
        // SAFETY: `work` is initialized by the type invariants of `Work`.
        unsafe { bindings::flush_delayed_work(self.0.work.get()) };
    }
}

impl Drop for DelayedWork {
    fn drop(&mut self) {
        self.finish();
    }
}

/// A work item with its function.
///
/// # Invariants
///
/// - `work` is an initialized `struct delayed_work` whose function is [`call()`].
/// - `work` is enabled only while `run` may be called for `super_block`.
#[pin_data]
#[repr(C)]
struct Work {
    // The first field, because `call()` casts a pointer to it to a `Work`.
    #[pin]
    work: Opaque<bindings::delayed_work>,
    run: Run,
    super_block: NonNull<bindings::super_block>,
}

impl Work {
    fn queue(&self) {
        // One jiffy more, because a part of the current jiffy has passed.
        let jiffies = msecs_to_jiffies(FailedAt::MSECS).saturating_add(1);

        // Not `mod_delayed_work_on()`: frequent failures would postpone the call forever.
        //
        // CAST: `WORK_CPU_UNBOUND` is 8192 at most.
        // SAFETY: `work` is initialized by the type invariants. `queue_delayed_work_on()` does not
        // queue disabled work.
        unsafe {
            bindings::queue_delayed_work_on(
                bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
                bindings::system_dfl_long_wq,
                self.work.get(),
                jiffies,
            )
        };
    }

    /// Whether a call is scheduled or is running.
    fn is_pending(&self) -> bool {
        // SAFETY: `work` is initialized by the type invariants. A `struct work_struct` is the first
        // field of a `struct delayed_work`.
        unsafe { bindings::work_busy(self.work.get().cast()) != 0 }
    }
}

// SAFETY: `struct delayed_work` and `struct super_block` are not bound to a thread.
unsafe impl Send for Work {}

// SAFETY: `queue_delayed_work_on()`, `flush_delayed_work()`, `work_busy()` and the functions that
// enable and disable a work may run at the same time on any threads. The other fields do not
// change.
unsafe impl Sync for Work {}

/// The function that a work item calls with a superblock.
pub(super) type Run = unsafe fn(NonNull<bindings::super_block>);

/// # Safety
///
/// Called by the workqueue only, for an enabled [`Work`].
unsafe extern "C" fn call(work: *mut bindings::work_struct) {
    // SAFETY: `work` is the first field of its delayed work, which is the first field of a `Work`.
    // The `Work` exists until the end of this call, because `finish()` waits for it before the
    // drop.
    let work = unsafe { &*work.cast::<Work>() };

    // SAFETY: The work is enabled, so `run` may be called for `super_block` by the type invariants.
    unsafe { (work.run)(work.super_block) };
}

/// Initializes a work item that is disabled.
///
/// # Safety
///
/// `slot` must be valid for writes, and must not move.
unsafe fn init(slot: *mut bindings::delayed_work) {
    // SAFETY: `slot` is valid for writes and pinned by the safety requirements.
    unsafe {
        work::init_delayed_work(slot, call);
        bindings::disable_delayed_work(slot);
    }
}
