// SPDX-License-Identifier: GPL-2.0

//! Values with a single writer and many readers.
//!
//! The writer reads the value without a lock, because no other code changes it. So readers can read
//! while the writer prepares a change and writes the change to a device. Readers wait only while
//! the writer changes the value. `kernel::sync` has no such lock.
//!
//! C header: [`include/linux/rwsem.h`](srctree/include/linux/rwsem.h)

use core::{
    cell::UnsafeCell,
    ops::{
        Deref,
        DerefMut, //
    },
};

use kernel::{
    prelude::*,
    static_lock_class,
    sync::Arc,
    types::{
        NotThreadSafe,
        Opaque, //
    },
};

use crate::bindings;

/// The name of the locks in lockdep. All locks are one class, and lockdep requires one address for
/// the name of a class. A string literal would have another address in each module that creates a
/// [`Writer`].
static NAME: &CStr = c"daxmf_single_writer";

/// A value, and the lock for it.
///
/// # Invariants
///
/// - `semaphore` is an initialized `struct rw_semaphore`.
/// - There is at most one [`Writer`].
/// - A `&mut` to `value` exists only while a [`WriteGuard`] holds the semaphore for writing. The
///   guard borrows the writer mutably.
/// - A shared reference to `value` borrows a [`ReadGuard`], which holds the semaphore for reading,
///   or the [`WriteGuard`], or the writer while it has no [`WriteGuard`].
#[pin_data]
struct Shared<T> {
    #[pin]
    semaphore: Opaque<bindings::rw_semaphore>,
    value: UnsafeCell<T>,
}

// SAFETY: A semaphore may be used on any thread. The last reference drops the value on its thread,
// which needs `T: Send`. References on several threads share the value, which needs `T: Sync`.
unsafe impl<T: Send + Sync> Send for Shared<T> {}

// SAFETY: `struct rw_semaphore` synchronizes accesses to the value. The last reference drops the
// value, which needs `T: Send`, and references share the value, which needs `T: Sync`.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn new(value: T) -> impl PinInit<Self> {
        // INVARIANT: `__init_rwsem()` initializes the semaphore. There is no writer and no
        // reference to the value yet.
        pin_init!(Self {
            semaphore <- Opaque::ffi_init(|slot| {
                // SAFETY: `slot` is valid for writes and pinned. The lock class is static.
                unsafe {
                    bindings::__init_rwsem(
                        slot,
                        NAME.as_char_ptr(),
                        static_lock_class!().as_ptr(),
                    )
                }
            }),
            value: UnsafeCell::new(value),
        })
    }
}

/// The only writer of a value.
///
/// # Examples
///
/// ```
/// use daxmf::single_writer::Writer;
///
/// let mut writer = Writer::new([1, 1])?;
/// let reader = writer.reader();
///
/// // Readers can read while the writer prepares a change.
/// let next = writer[0] + 1;
/// assert_eq!(*reader.read(), [1, 1]);
///
/// // Readers wait while the guard exists, so they never see half of a change.
/// let mut value = writer.change();
/// value[0] = next;
/// value[1] = next;
/// drop(value);
///
/// assert_eq!(*reader.read(), [2, 2]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Invariants
///
/// This is the only writer of the `Shared` that `self.0` refers to.
pub struct Writer<T>(Arc<Shared<T>>);

impl<T> Writer<T> {
    /// Creates a writer that owns `value`.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub fn new(value: T) -> Result<Self> {
        // INVARIANT: The `Shared` is new, so it has no other writer.
        Ok(Self(Arc::pin_init(Shared::new(value), GFP_KERNEL)?))
    }

    /// Creates a reader of the value.
    pub fn reader(&self) -> Reader<T> {
        Reader(self.0.clone())
    }

    /// Waits until no reader reads the value, and returns a guard to change it. Readers wait as
    /// long as the guard exists; a read by the same thread would wait for ever.
    ///
    /// C: `down_write()`
    pub fn change(&mut self) -> WriteGuard<'_, T> {
        // INVARIANT: `down_write()` takes the semaphore for this thread.
        // SAFETY: The semaphore is initialized by the type invariants of `Shared`.
        unsafe { bindings::down_write(self.0.semaphore.get()) };
        WriteGuard {
            writer: self,
            _not_send: NotThreadSafe,
        }
    }
}

impl<T> Deref for Writer<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: Only a `WriteGuard` gives a `&mut` to the value, and it borrows the only writer
        // mutably. `self` is borrowed here, so there is no `WriteGuard`.
        unsafe { &*self.0.value.get() }
    }
}

/// Exclusive access to a value of a [`Writer`].
///
/// # Invariants
///
/// This thread holds the semaphore for writing.
#[must_use = "the lock is released when the guard is dropped"]
pub struct WriteGuard<'a, T> {
    writer: &'a mut Writer<T>,
    _not_send: NotThreadSafe,
}

impl<T> Deref for WriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: This thread holds the semaphore for writing by the type invariants, and `self`
        // borrows the writer mutably. So other references to the value borrow `self`, and are
        // shared.
        unsafe { &*self.writer.0.value.get() }
    }
}

impl<T> DerefMut for WriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: This thread holds the semaphore for writing by the type invariants, so no reader
        // has a reference. `self` borrows the writer mutably, and is borrowed mutably itself.
        unsafe { &mut *self.writer.0.value.get() }
    }
}

impl<T> Drop for WriteGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: This thread holds the semaphore for writing by the type invariants.
        unsafe { bindings::up_write(self.writer.0.semaphore.get()) };
    }
}

/// A reader of the value of a [`Writer`].
pub struct Reader<T>(Arc<Shared<T>>);

impl<T> Reader<T> {
    /// Waits for the end of a [change](Writer::change), and returns a guard to read the value. The
    /// writer waits as long as the guard exists. A thread must not hold two guards of one value: if
    /// the writer waits for the first guard, the second `read()` waits for the writer.
    ///
    /// C: `down_read()`
    pub fn read(&self) -> ReadGuard<'_, T> {
        // INVARIANT: `down_read()` takes the semaphore for this thread.
        // SAFETY: The semaphore is initialized by the type invariants of `Shared`.
        unsafe { bindings::down_read(self.0.semaphore.get()) };
        ReadGuard {
            reader: self,
            _not_send: NotThreadSafe,
        }
    }
}

/// Shared access to a value of a [`Writer`]. The value does not change while this exists.
///
/// # Invariants
///
/// This thread holds the semaphore for reading.
#[must_use = "the lock is released when the guard is dropped"]
pub struct ReadGuard<'a, T> {
    reader: &'a Reader<T>,
    _not_send: NotThreadSafe,
}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: This thread holds the semaphore for reading by the type invariants. So there is
        // no `WriteGuard`, and only that gives a `&mut` to the value.
        unsafe { &*self.reader.0.value.get() }
    }
}

impl<T> Drop for ReadGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: This thread holds the semaphore for reading by the type invariants.
        unsafe { bindings::up_read(self.reader.0.semaphore.get()) };
    }
}

#[kunit_tests(daxmf_single_writer)]
mod tests {
    use super::*;

    /// Whether the semaphore of a value could be taken for reading and for writing, at this moment.
    fn try_locks<T>(reader: &Reader<T>) -> (bool, bool) {
        let semaphore = reader.0.semaphore.get();

        // SAFETY: The semaphore is initialized by the type invariants of `Shared`. Each successful
        // trylock is released at once.
        unsafe {
            let can_read = bindings::down_read_trylock(semaphore) != 0;

            if can_read {
                bindings::up_read(semaphore);
            }

            let can_write = bindings::down_write_trylock(semaphore) != 0;

            if can_write {
                bindings::up_write(semaphore);
            }
            (can_read, can_write)
        }
    }

    #[test]
    fn change_excludes_readers() -> Result {
        let mut writer = Writer::new(1)?;
        let reader = writer.reader();

        assert_eq!(try_locks(&reader), (true, true));

        let mut value = writer.change();

        assert_eq!(try_locks(&reader), (false, false));
        *value = 2;
        assert_eq!(*value, 2);
        drop(value);
        assert_eq!(try_locks(&reader), (true, true));
        assert_eq!((*writer, *reader.read()), (2, 2));
        Ok(())
    }

    #[test]
    fn readers_exclude_change_but_not_each_other() -> Result {
        let writer = Writer::new(1)?;
        let reader = writer.reader();
        let value = reader.read();

        assert_eq!(try_locks(&reader), (true, false));
        // The writer needs no lock to read.
        assert_eq!((*writer, *value), (1, 1));
        drop(value);
        assert_eq!(try_locks(&reader), (true, true));
        Ok(())
    }

    #[test]
    fn value_lives_until_the_last_reader_is_dropped() -> Result {
        let value = Arc::new((), GFP_KERNEL)?;
        let writer = Writer::new(value.clone())?;
        let reader = writer.reader();

        drop(writer);
        assert!(Arc::ptr_eq(&reader.read(), &value));
        drop(reader);
        assert!(Arc::into_unique_or_drop(value).is_some());
        Ok(())
    }
}
