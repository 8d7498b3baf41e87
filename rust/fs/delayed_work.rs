// SPDX-License-Identifier: GPL-2.0

//! What a filesystem does some time after its memory has failed.
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

/// When a page has failed.
///
/// The handler of a machine check that has reported it may take the page from the kernel's linear
/// map after the failure was handled, and only what is mended after that is put back.
///
/// # Examples
///
/// ```
/// use daxmf::fs::FailedAt;
///
/// // What has failed just now is not to be mended yet.
/// assert!(!FailedAt::now().is_over());
/// ```
#[derive(Clone, Copy)]
pub struct FailedAt(Instant<Monotonic>);

impl FailedAt {
    /// Enough for a machine check.
    const MSECS: Msecs = 1000;

    const DELAY: Delta = Delta::from_millis(Self::MSECS as i64);

    /// It fails at this moment.
    pub fn now() -> Self {
        Self(Instant::now())
    }

    /// Whether the page can be mended: a second has passed.
    pub fn is_over(self) -> bool {
        self.0.elapsed() >= Self::DELAY
    }
}

/// Where to ask for [`FileSystem::repair()`](super::FileSystem::repair).
///
/// # Examples
///
/// ```
/// use daxmf::fs::RepairWork;
///
/// /// A block that has been bad is nobody's now.
/// fn free_block(suspects: &mut KVec<u64>, block: u64, repair_work: &RepairWork) -> Result {
///     suspects.push(block, GFP_KERNEL)?;
///     repair_work.schedule();
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct RepairWork(Arc<Work>);

impl RepairWork {
    /// Asks for a call in a second, unless there will be one before. Nothing comes of it before the
    /// filesystem is loaded, when there is a call anyway, and after it was unmounted.
    pub fn schedule(&self) {
        self.0.queue();
    }
}

/// Calls a function some time after it was asked to. When finished or dropped, nothing is called
/// any more.
///
/// Repairing memory and finishing failures must not wait for each other: who changes a file waits
/// for metadata to be repaired, with the locks held that invalidating pages of the file takes.
pub(super) struct DelayedWork(Arc<Work>);

impl DelayedWork {
    /// Calls `run` with `super_block`.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    ///
    /// # Safety
    ///
    /// `run` may be called for `super_block` from [`start()`](Self::start) until this was finished
    /// or dropped.
    pub(super) unsafe fn new(
        super_block: NonNull<bindings::super_block>,
        run: Run,
    ) -> Result<Self> {
        // INVARIANT: `init()` sets it up. It is enabled by `start()` and disabled by `finish()`.
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

    /// Where the filesystem asks for a call.
    pub(super) fn handle(&self) -> RepairWork {
        RepairWork(self.0.clone())
    }

    /// Asks for a call in a second, unless there will be one before.
    pub(super) fn queue(&self) {
        self.0.queue();
    }

    /// From now on there are calls. Asks for the first one.
    pub(super) fn start(&self) {
        // SAFETY: The work is valid by its type invariants.
        unsafe { bindings::enable_delayed_work(self.0.work.get()) };
        self.0.queue();
    }

    /// Does at once what was asked for, and waits until it is done. What cannot be done before a
    /// second has passed is given this second. There are no calls any more.
    pub(super) fn finish(&self) {
        self.flush();
        if self.0.is_pending() {
            fsleep(FailedAt::DELAY);
            self.flush();
        }
        // SAFETY: The work is valid by its type invariants.
        unsafe { bindings::disable_delayed_work_sync(self.0.work.get()) };
    }

    fn flush(&self) {
        // SAFETY: The work is valid by its type invariants.
        unsafe { bindings::flush_delayed_work(self.0.work.get()) };
    }
}

impl Drop for DelayedWork {
    fn drop(&mut self) {
        self.finish();
    }
}

/// # Invariants
///
/// - `work` is an initialized `struct delayed_work` whose function is [`call()`].
/// - It is enabled only while `run` may be called for `super_block`.
#[pin_data]
#[repr(C)]
struct Work {
    // First, for the function gets a pointer to it.
    #[pin]
    work: Opaque<bindings::delayed_work>,
    run: Run,
    super_block: NonNull<bindings::super_block>,
}

impl Work {
    fn queue(&self) {
        // One more than it takes, for the one at this moment is not a whole one.
        let jiffies = msecs_to_jiffies(FailedAt::MSECS).saturating_add(1);

        // Not `mod_delayed_work_on()`: while failures come, there would be no call.
        //
        // CAST: It is no processor, as it is 8192.
        // SAFETY: The work is valid by its type invariants. Once it is disabled it is not queued.
        unsafe {
            bindings::queue_delayed_work_on(
                bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
                bindings::system_dfl_long_wq,
                self.work.get(),
                jiffies,
            )
        };
    }

    /// Whether there is to be a call, or is one.
    fn is_pending(&self) -> bool {
        // SAFETY: The work is valid by its type invariants, and the first field of a delayed work.
        unsafe { bindings::work_busy(self.work.get().cast()) != 0 }
    }
}

// SAFETY: A work item may be used on any thread, and so may a superblock.
unsafe impl Send for Work {}

// SAFETY: The functions of the workqueue do their own synchronization. The other fields do not
// change.
unsafe impl Sync for Work {}

/// What a work item does about a superblock.
pub(super) type Run = unsafe fn(NonNull<bindings::super_block>);

/// # Safety
///
/// Called by the workqueue only, for a [`Work`] that is enabled.
unsafe extern "C" fn call(work: *mut bindings::work_struct) {
    // SAFETY: The work is the first field of its delayed work, which is the first of a `Work`. Who
    // disables it waits for us, and so does who drops it.
    let work = unsafe { &*work.cast::<Work>() };

    // SAFETY: By the type invariants.
    unsafe { (work.run)(work.super_block) };
}

/// Sets up a work item that is disabled.
///
/// # Safety
///
/// `slot` must be valid for writes and stay where it is.
unsafe fn init(slot: *mut bindings::delayed_work) {
    // SAFETY: By the safety requirements.
    unsafe {
        work::init_delayed_work(slot, call);
        bindings::disable_delayed_work(slot);
    }
}
