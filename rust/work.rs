// SPDX-License-Identifier: GPL-2.0

//! Work items that end with their owner.
//!
//! `kernel::workqueue` has no way to wait for an item: one that is queued may run when its module
//! is gone.
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

/// What a work item does.
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
/// // Nothing runs without a worker.
/// drop(worker);
/// handle.numbers.lock().push(2, GFP_KERNEL)?;
/// handle.queue();
/// assert_eq!(*handle.sum.lock(), 1);
/// # Ok::<(), Error>(())
/// ```
pub trait Item: Send + Sync + 'static {
    /// Called in process context, by one thread at a time; may sleep, and take long.
    ///
    /// It must not drop its [`Worker`], which would wait for it.
    fn run(&self);
}

/// The owner of a work item. When dropped, the item is not running and never will.
pub struct Worker<T: Item>(Arc<Inner<T>>);

impl<T: Item> Worker<T> {
    /// Creates a work item that is not queued.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    /// - The error of `init`.
    pub fn new(init: impl PinInit<T, Error>) -> Result<Self> {
        // INVARIANT: `init_delayed_work()` sets `work` up with the function for `T`.
        let inner = try_pin_init!(Inner {
            work <- Opaque::ffi_init(|slot| {
                // SAFETY: `slot` is valid for writes and pinned.
                unsafe { init_delayed_work(slot, run::<T>) }
            }),
            item <- init,
        }? Error);

        Ok(Self(Arc::pin_init(inner, GFP_KERNEL)?))
    }

    /// Where others queue the item.
    pub fn handle(&self) -> Handle<T> {
        Handle(self.0.clone())
    }

    /// Has the item run at once, if it is queued, and waits until it has.
    ///
    /// C: `flush_delayed_work()`
    pub fn flush(&self) {
        // SAFETY: The work is valid by the type invariants of `Inner`.
        unsafe { bindings::flush_delayed_work(self.0.work.get()) };
    }
}

impl<T: Item> Drop for Worker<T> {
    fn drop(&mut self) {
        // SAFETY: The work is valid by the type invariants of `Inner`.
        unsafe { bindings::disable_delayed_work_sync(self.0.work.get()) };
    }
}

/// Access to a work item, which may outlive its [`Worker`].
pub struct Handle<T: Item>(Arc<Inner<T>>);

impl<T: Item> Handle<T> {
    /// Has the item run, once more if it is running. Nothing comes of it after the worker was
    /// dropped.
    ///
    /// May be called in any context but NMI.
    ///
    /// C: `queue_work()`
    pub fn queue(&self) {
        self.queue_after(Delta::ZERO);
    }

    /// Has the item run after `delay`, unless it is queued already: it runs when that was to be.
    ///
    /// Otherwise as [`queue()`](Self::queue).
    ///
    /// C: `queue_delayed_work()`
    pub fn queue_after(&self, delay: Delta) {
        // CAST: It is not negative.
        let jiffies = msecs_to_jiffies(delay.as_millis_ceil().max(0) as Msecs);

        // CAST: It is no processor, as it is 8192.
        // SAFETY: The work is valid by the type invariants of `Inner`. It stays so until it has
        // run, for the worker has a reference to it, and waits when it is dropped.
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
    // First, for the function gets a pointer to it.
    #[pin]
    work: Opaque<bindings::delayed_work>,
    #[pin]
    item: T,
}

// SAFETY: A work item may be used on any thread if what it does may.
unsafe impl<T: Send> Send for Inner<T> {}

// SAFETY: The functions of the workqueue do their own synchronization.
unsafe impl<T: Sync> Sync for Inner<T> {}

/// # Safety
///
/// Called by the workqueue only, for the work of an [`Inner<T>`].
unsafe extern "C" fn run<T: Item>(work: *mut bindings::work_struct) {
    // SAFETY: The work is the first field of its delayed work, and that the first of an `Inner<T>`,
    // which the worker keeps until `disable_delayed_work_sync()` has waited for us.
    let inner = unsafe { &*work.cast::<Inner<T>>() };

    inner.item.run();
}

/// C: `INIT_DELAYED_WORK()`
///
/// # Safety
///
/// `slot` must be valid for writes and stay where it is.
pub(crate) unsafe fn init_delayed_work(
    slot: *mut bindings::delayed_work,
    run: unsafe extern "C" fn(*mut bindings::work_struct),
) {
    // SAFETY: By the safety requirements. The lock classes are static. The function of the timer is
    // the one that belongs to delayed works.
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
