// SPDX-License-Identifier: GPL-2.0

//! Work items that do not run after their worker is dropped.
//!
//! `kernel::workqueue` cannot cancel a work item or wait for it: a queued item can run after its
//! module is unloaded.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use core::ops::Deref;

use kernel::{
    prelude::*,
    static_lock_class,
    sync::Arc,
    time::{
        msecs_to_jiffies,
        Delta,
        Msecs, //
    },
    types::Opaque, //
};

use crate::bindings;

/// The function of a work item, and its data.
///
/// # Examples
///
/// ```
/// use daxmf::work::{Item, Worker};
/// use kernel::sync::{new_mutex, Mutex};
///
/// #[pin_data]
/// struct Sum {
///     #[pin]
///     numbers: Mutex<KVec<u32>>,
///     #[pin]
///     sum: Mutex<u32>,
/// }
///
/// impl Item for Sum {
///     fn run(&self) {
///         let numbers = core::mem::take(&mut *self.numbers.lock());
///
///         *self.sum.lock() += numbers.iter().sum::<u32>();
///     }
/// }
///
/// let worker = Worker::new(try_pin_init!(Sum {
///     numbers <- new_mutex!(KVec::new()),
///     sum <- new_mutex!(0),
/// }))?;
/// let handle = worker.handle();
///
/// handle.numbers.lock().push(1, GFP_KERNEL)?;
/// handle.queue();
/// worker.flush();
/// assert_eq!(*handle.sum.lock(), 1);
///
/// // The item does not run after its worker is dropped.
/// drop(worker);
/// handle.numbers.lock().push(2, GFP_KERNEL)?;
/// handle.queue();
/// assert_eq!(*handle.sum.lock(), 1);
/// # Ok::<(), Error>(())
/// ```
pub trait Item: Send + Sync + 'static {
    /// Runs the work item. Called in process context, by one thread at a time. The function may
    /// sleep, and may take long.
    ///
    /// The function must not drop its [`Worker`]: the drop would wait for the function.
    fn run(&self);
}

/// The owner of a work item. Once the owner is dropped, the item is not running, and never runs
/// again.
pub struct Worker<T: Item>(Arc<Inner<T>>);

impl<T: Item> Worker<T> {
    /// Creates a work item that is not queued.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    /// - The error of `init`.
    pub fn new(init: impl PinInit<T, Error>) -> Result<Self> {
        // INVARIANT: `init_delayed_work()` initializes `work` with the function `run::<T>()`.
        let inner = try_pin_init!(Inner {
            work <- Opaque::ffi_init(|slot| {
                // SAFETY: `slot` is valid for writes and pinned.
                unsafe { init_delayed_work(slot, run::<T>) }
            }),
            item <- init,
        }? Error);

        Ok(Self(Arc::pin_init(inner, GFP_KERNEL)?))
    }

    /// Returns a handle to queue the item.
    pub fn handle(&self) -> Handle<T> {
        Handle(self.0.clone())
    }

    /// Runs the item now if it is queued, without the rest of its delay, and waits until it has
    /// run.
    ///
    /// C: `flush_delayed_work()`
    pub fn flush(&self) {
        // SAFETY: `work` is initialized by the type invariants of `Inner`.
        unsafe { bindings::flush_delayed_work(self.0.work.get()) };
    }
}

impl<T: Item> Drop for Worker<T> {
    fn drop(&mut self) {
        // SAFETY: `work` is initialized by the type invariants of `Inner`.
        unsafe { bindings::disable_delayed_work_sync(self.0.work.get()) };
    }
}

/// A handle to queue a work item, and to access its data. A handle can outlive the [`Worker`].
pub struct Handle<T: Item>(Arc<Inner<T>>);

impl<T: Item> Handle<T> {
    /// Queues the item. If the item is running, it runs again afterwards. After the worker is
    /// dropped, this does nothing.
    ///
    /// May be called in any context except NMI.
    ///
    /// C: `queue_work()`
    pub fn queue(&self) {
        self.queue_after(Delta::ZERO);
    }

    /// Queues the item to run after `delay`, rounded up to milliseconds. If the item is already
    /// queued, its time does not change.
    ///
    /// Otherwise the same as [`queue()`](Self::queue).
    ///
    /// C: `queue_delayed_work()`
    pub fn queue_after(&self, delay: Delta) {
        let jiffies = delay.as_millis_ceil().max(0);
        let jiffies = msecs_to_jiffies(Msecs::try_from(jiffies).unwrap_or(Msecs::MAX));

        // CAST: `WORK_CPU_UNBOUND` is 8192 at most.
        // SAFETY: `work` is initialized by the type invariants of `Inner`. `Inner` stays valid
        // until the work has run: the worker has a reference to it, and the drop of the worker
        // waits for the work.
        unsafe {
            bindings::queue_delayed_work_on(
                bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
                bindings::system_dfl_long_wq,
                self.0.work.get(),
                jiffies,
            )
        };
    }
}

impl<T: Item> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Item> Deref for Handle<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.item
    }
}

/// A work item.
///
/// # Invariants
///
/// `work` is an initialized `struct delayed_work` whose function is [`run::<T>()`](run).
#[pin_data]
#[repr(C)]
struct Inner<T> {
    // The first field, because `run()` gets a pointer to it.
    #[pin]
    work: Opaque<bindings::delayed_work>,
    #[pin]
    item: T,
}

// SAFETY: `queue_delayed_work_on()`, `flush_delayed_work()` and `disable_delayed_work_sync()` may
// be called on any thread, and `item` is `Send`.
unsafe impl<T: Send> Send for Inner<T> {}

// SAFETY: `queue_delayed_work_on()`, `flush_delayed_work()` and `disable_delayed_work_sync()` may
// run at the same time on any threads, and `item` is `Sync`.
unsafe impl<T: Sync> Sync for Inner<T> {}

/// # Safety
///
/// Only the workqueue may call this, for the `work` of an [`Inner<T>`].
unsafe extern "C" fn run<T: Item>(work: *mut bindings::work_struct) {
    // SAFETY: The `struct work_struct` is the first field of the `struct delayed_work`, which is
    // the first field of an `Inner<T>`. The worker has a reference to the `Inner<T>` until
    // `disable_delayed_work_sync()` has waited for this function.
    let inner = unsafe { &*work.cast::<Inner<T>>() };

    inner.item.run();
}

/// Initializes a delayed work with the function `run`.
///
/// C: `INIT_DELAYED_WORK()`
///
/// # Safety
///
/// `slot` must be valid for writes, and must not move afterwards.
pub(crate) unsafe fn init_delayed_work(
    slot: *mut bindings::delayed_work,
    run: unsafe extern "C" fn(*mut bindings::work_struct),
) {
    // SAFETY: `slot` is valid for writes and does not move, by the safety requirements. The lock
    // classes and names are static. `delayed_work_timer_fn()` is the timer function of delayed
    // works.
    unsafe {
        slot.write(pin_init::zeroed());
        bindings::init_work_with_key(
            &raw mut (*slot).work,
            Some(run),
            false,
            c"daxmf_work".as_char_ptr(),
            static_lock_class!().as_ptr(),
        );
        bindings::timer_init_key(
            &raw mut (*slot).timer,
            Some(bindings::delayed_work_timer_fn),
            bindings::TIMER_IRQSAFE,
            c"daxmf_work_timer".as_char_ptr(),
            static_lock_class!().as_ptr(),
        );
    }
}
