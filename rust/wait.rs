// SPDX-License-Identifier: GPL-2.0

//! Waits that end when the task is killed, or after a timeout.
//!
//! `kernel::sync::CondVar` has no killable wait: its waits end on any signal, or on none.
//!
//! C header: [`include/linux/wait.h`](srctree/include/linux/wait.h)

use core::ptr;

use kernel::{
    current,
    prelude::*,
    static_lock_class,
    task::TASK_NORMAL,
    time::{
        msecs_to_jiffies,
        Delta,
        Msecs, //
    },
    types::Opaque, //
};

use crate::bindings;

/// Checks that the current task is not killed.
///
/// # Errors
///
/// - `EINTR` if a fatal signal is pending.
///
/// C: `fatal_signal_pending()`
pub(crate) fn check_killed() -> Result {
    // SAFETY: `current!()` is a valid task.
    match unsafe { bindings::fatal_signal_pending(current!().as_ptr()) } {
        0 => Ok(()),
        _ => Err(EINTR),
    }
}

/// A queue of tasks that wait for a change of data that a lock protects.
///
/// # Examples
///
/// ```
/// use daxmf::wait::WaitQueue;
/// use kernel::{
///     sync::{new_mutex, Mutex},
///     time::Delta,
/// };
///
/// #[pin_data]
/// struct Gate {
///     #[pin]
///     is_open: Mutex<bool>,
///     #[pin]
///     opened: WaitQueue,
/// }
///
/// impl Gate {
///     fn open(&self) {
///         *self.is_open.lock() = true;
///         self.opened.notify_all();
///     }
///
///     fn pass(&self) -> Result {
///         loop {
///             let is_open = self.is_open.lock();
///
///             if *is_open {
///                 return Ok(());
///             }
///             self.opened.wait(Delta::from_millis(1000), || drop(is_open))?;
///         }
///     }
/// }
///
/// let gate = KBox::pin_init(
///     pin_init!(Gate {
///         is_open <- new_mutex!(false),
///         opened <- WaitQueue::new(),
///     }),
///     GFP_KERNEL,
/// )?;
///
/// // A notification right after the unlock ends the wait.
/// gate.opened.wait(Delta::from_secs(1000), || gate.open())?;
/// gate.pass()?;
/// // There is no notification, so the timeout ends the wait.
/// gate.opened.wait(Delta::from_millis(1), || ())?;
/// # Ok::<(), Error>(())
/// ```
///
/// # Invariants
///
/// `head` is an initialized `struct wait_queue_head`.
#[pin_data]
pub struct WaitQueue {
    #[pin]
    head: Opaque<bindings::wait_queue_head>,
}

// SAFETY: `add_wait_queue()`, `remove_wait_queue()` and `__wake_up()` may be called on any thread.
unsafe impl Send for WaitQueue {}

// SAFETY: `add_wait_queue()`, `remove_wait_queue()` and `__wake_up()` take the lock of the queue.
unsafe impl Sync for WaitQueue {}

impl WaitQueue {
    /// Creates an empty queue.
    pub fn new() -> impl PinInit<Self> {
        // INVARIANT: `__init_waitqueue_head()` initializes `head`.
        pin_init!(Self {
            head <- Opaque::ffi_init(|slot| {
                // SAFETY: `slot` is valid for writes and pinned. The lock class is static.
                unsafe {
                    bindings::__init_waitqueue_head(
                        slot,
                        c"daxmf_wait".as_char_ptr(),
                        static_lock_class!().as_ptr(),
                    )
                }
            }),
        })
    }

    /// Waits for [`notify_all()`](Self::notify_all), for `timeout` at most. Calls `unlock` before
    /// the wait. `unlock` must release the lock of the data. A notification after the call of
    /// `unlock` ends the wait, even if it comes before the task sleeps.
    ///
    /// The wait can end without the expected change, so the caller must check the data again.
    ///
    /// # Errors
    ///
    /// - `EINTR` if the task is killed.
    ///
    /// C: `wait_woken()`
    pub fn wait(&self, timeout: Delta, unlock: impl FnOnce()) -> Result {
        let timeout = timeout.as_millis_ceil().max(0);
        let timeout = msecs_to_jiffies(Msecs::try_from(timeout).unwrap_or(Msecs::MAX));
        let entry = Opaque::new(bindings::wait_queue_entry {
            flags: 0,
            private: current!().as_ptr().cast(),
            func: Some(bindings::woken_wake_function),
            entry: bindings::list_head {
                next: ptr::null_mut(),
                prev: ptr::null_mut(),
            },
        });

        // SAFETY: `head` is initialized by the type invariants. The entry is initialized, and stays
        // in place until `remove_wait_queue()` below.
        unsafe { bindings::add_wait_queue(self.head.get(), entry.get()) };
        unlock();

        // SAFETY: `head` is initialized by the type invariants. The entry is in its queue, is
        // private to this task, and has the function that `wait_woken()` requires.
        unsafe {
            bindings::wait_woken(
                entry.get(),
                bindings::TASK_KILLABLE,
                c_long::try_from(timeout).unwrap_or(c_long::MAX),
            );
            bindings::remove_wait_queue(self.head.get(), entry.get());
        }
        check_killed()
    }

    /// Wakes up all waiting tasks.
    ///
    /// C: `wake_up_all()`
    pub fn notify_all(&self) {
        // SAFETY: `head` is initialized by the type invariants.
        unsafe { bindings::__wake_up(self.head.get(), TASK_NORMAL, 0, ptr::null_mut()) };
    }
}
