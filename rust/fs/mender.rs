// SPDX-License-Identifier: GPL-2.0

//! The time when a filesystem mends itself.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use kernel::{
    prelude::*,
    static_lock_class,
    sync::Arc,
    time::{
        msecs_to_jiffies,
        Msecs, //
    },
    types::Opaque, //
};

use crate::bindings;

use super::FileSystem;

/// Calls [`FileSystem::mend()`] some time after it was asked to. When dropped, nothing is called
/// any more.
///
/// # Invariants
///
/// `work` is an initialized `struct delayed_work` whose function is [`Self::run()`].
#[pin_data(PinnedDrop)]
#[repr(C)]
pub(super) struct Mender<T: FileSystem> {
    // First, for the function gets a pointer to it.
    #[pin]
    work: Opaque<bindings::delayed_work>,
    fs: Arc<T>,
}

// SAFETY: A work item may be used on any thread, and `T` is `Send` and `Sync`.
unsafe impl<T: FileSystem> Send for Mender<T> {}

// SAFETY: As above; the functions of the workqueue do their own synchronization.
unsafe impl<T: FileSystem> Sync for Mender<T> {}

impl<T: FileSystem> Mender<T> {
    /// Enough for a machine check: when it is over, the memory may be taken from the kernel's
    /// linear map, and only what is mended after that is put back.
    const DELAY: Msecs = 1000;

    pub(super) fn new(fs: Arc<T>) -> impl PinInit<Self> {
        // INVARIANT: `init()` sets it up.
        pin_init!(Self {
            work <- Opaque::ffi_init(|slot| {
                // SAFETY: `slot` is valid for writes and pinned.
                unsafe { init(slot, Self::run) }
            }),
            fs,
        })
    }

    /// Asks for a call, or puts off the one that was asked for: there is another failure.
    pub(super) fn schedule(&self) {
        // CAST: It is no processor, as it is 8192.
        // SAFETY: By the type invariants. The drop waits for the call.
        unsafe {
            bindings::mod_delayed_work_on(
                bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
                bindings::system_dfl_long_wq,
                self.work.get(),
                msecs_to_jiffies(Self::DELAY),
            )
        };
    }

    /// Does at once what was asked for, and waits until it is done.
    pub(super) fn finish(&self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::flush_delayed_work(self.work.get()) };
    }

    /// # Safety
    ///
    /// Called by the workqueue only, for the work of a `Self`.
    unsafe extern "C" fn run(work: *mut bindings::work_struct) {
        // SAFETY: The work is the first field of its delayed work, which is the first of a `Self`.
        // Its drop waits for us.
        let this = unsafe { &*work.cast::<Self>() };

        this.fs.mend();
    }
}

#[pinned_drop]
impl<T: FileSystem> PinnedDrop for Mender<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants.
        unsafe { bindings::cancel_delayed_work_sync(self.work.get()) };
    }
}

/// C: `INIT_DELAYED_WORK()`
///
/// # Safety
///
/// `slot` must be valid for writes and stay where it is.
unsafe fn init(
    slot: *mut bindings::delayed_work,
    run: unsafe extern "C" fn(*mut bindings::work_struct),
) {
    // SAFETY: By the safety requirements. The function of the timer is the one that belongs to
    // delayed works.
    unsafe {
        slot.write(pin_init::zeroed());
        bindings::init_work_with_key(
            &raw mut (*slot).work,
            Some(run),
            false,
            c"daxmf_mender".as_char_ptr(),
            static_lock_class!().as_ptr(),
        );
        bindings::timer_init_key(
            &raw mut (*slot).timer,
            Some(bindings::delayed_work_timer_fn),
            bindings::TIMER_IRQSAFE,
            c"daxmf_mender_timer".as_char_ptr(),
            static_lock_class!().as_ptr(),
        );
    }
}
