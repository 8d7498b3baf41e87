// SPDX-License-Identifier: GPL-2.0

//! Values with a single writer: one owner changes them, many read them.
//!
//! The owner reads without a lock, for nobody else changes the value. So it can take its time to
//! prepare a change, and write it to a device, while others read; it keeps them away for the moment
//! only in which the value changes. `kernel::sync` has no lock of this kind; bcachefs calls it
//! "intent" (`fs/bcachefs/six.h`), with an owner that is not fixed.
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

/// What lockdep calls the locks. It takes them all for one class, which must have its name at one
/// address: a literal would be at another one in each module that makes a [`Writer`].
static NAME: &CStr = c"daxmf_single_writer";

/// A value, and the lock for it.
///
/// # Invariants
///
/// - `semaphore` is an initialized `struct rw_semaphore`.
/// - There is one [`Writer`] at most. `&mut` to `value` exist as long as the semaphore is held for
///   writing, by a [`WriteGuard`] that borrows the writer mutably. Shared references exist as long
///   as it is held for reading, or as a writer is borrowed that has no such guard.
#[pin_data]
struct Shared<T> {
    #[pin]
    semaphore: Opaque<bindings::rw_semaphore>,
    value: UnsafeCell<T>,
}

// SAFETY: A semaphore belongs to no thread. The last one to go drops the value: `T: Send`. Whoever
// has a pointer to this shares the value with those on other threads: `T: Sync`.
unsafe impl<T: Send + Sync> Send for Shared<T> {}

// SAFETY: `rw_semaphore` synchronizes accesses; see above for the value.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn new(value: T) -> impl PinInit<Self> {
        // INVARIANT: `__init_rwsem()` initializes the semaphore. There is no writer yet.
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

/// The owner of a value: who changes it.
///
/// # Examples
///
/// ```
/// use daxmf::single_writer::Writer;
///
/// let mut writer = Writer::new([1, 1])?;
/// let reader = writer.reader();
///
/// // Others may read meanwhile.
/// let next = writer[0] + 1;
/// assert_eq!(*reader.read(), [1, 1]);
///
/// // And not now: nobody sees half of it.
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
/// It is the only writer of the value.
pub struct Writer<T>(Arc<Shared<T>>);

impl<T> Writer<T> {
    /// Takes a value over.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub fn new(value: T) -> Result<Self> {
        // INVARIANT: Nobody else has the value yet.
        Ok(Self(Arc::pin_init(Shared::new(value), GFP_KERNEL)?))
    }

    /// Who may read the value.
    pub fn reader(&self) -> Reader<T> {
        Reader(self.0.clone())
    }

    /// Changes the value: waits until nobody reads it any more, and lets nobody read it as long as
    /// the guard exists. A reader of the same thread would wait for ever.
    ///
    /// C: `down_write()`
    pub fn change(&mut self) -> WriteGuard<'_, T> {
        // INVARIANT: The semaphore is taken here.
        // SAFETY: The semaphore is initialized by the invariants of `Shared`.
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
        // SAFETY: Only a `WriteGuard` gives a `&mut` to the value, and it borrows the one writer
        // mutably: as long as `self` is borrowed here there is none.
        unsafe { &*self.0.value.get() }
    }
}

/// Proof that nobody reads a value, which can be changed.
///
/// # Invariants
///
/// This thread holds the semaphore for writing.
#[must_use = "the lock is given up when the guard is dropped"]
pub struct WriteGuard<'a, T> {
    writer: &'a mut Writer<T>,
    _not_send: NotThreadSafe,
}

impl<T> Deref for WriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: By the type invariants nobody else has a reference to the value, but those that
        // borrow `self` shared.
        unsafe { &*self.writer.0.value.get() }
    }
}

impl<T> DerefMut for WriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: By the type invariants readers are excluded. The writer is borrowed mutably, and
        // so is `self`.
        unsafe { &mut *self.writer.0.value.get() }
    }
}

impl<T> Drop for WriteGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants this thread holds the semaphore for writing.
        unsafe { bindings::up_write(self.writer.0.semaphore.get()) };
    }
}

/// Somebody who may read a value that a [`Writer`] has.
pub struct Reader<T>(Arc<Shared<T>>);

impl<T> Reader<T> {
    /// Reads the value: waits for the end of a [change](Writer::change), and lets nothing be
    /// changed as long as the guard exists. A thread reads once at a time: if a writer waits for
    /// the first guard, a second one waits for the writer.
    ///
    /// C: `down_read()`
    pub fn read(&self) -> ReadGuard<'_, T> {
        // INVARIANT: The semaphore is taken here.
        // SAFETY: The semaphore is initialized by the invariants of `Shared`.
        unsafe { bindings::down_read(self.0.semaphore.get()) };
        ReadGuard {
            reader: self,
            _not_send: NotThreadSafe,
        }
    }
}

/// Proof that a value does not change.
///
/// # Invariants
///
/// This thread holds the semaphore for reading.
#[must_use = "the lock is given up when the guard is dropped"]
pub struct ReadGuard<'a, T> {
    reader: &'a Reader<T>,
    _not_send: NotThreadSafe,
}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: By the type invariants there is no `WriteGuard`, the only one to change the
        // value.
        unsafe { &*self.reader.0.value.get() }
    }
}

impl<T> Drop for ReadGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants this thread holds the semaphore for reading.
        unsafe { bindings::up_read(self.reader.0.semaphore.get()) };
    }
}

#[kunit_tests(daxmf_single_writer)]
mod tests {
    use super::*;

    /// Whether somebody else could read a value at this moment, and could change it.
    fn others<T>(reader: &Reader<T>) -> (bool, bool) {
        let semaphore = reader.0.semaphore.get();

        // SAFETY: The semaphore is initialized by the invariants of `Shared`. What was taken is
        // given up at once.
        unsafe {
            let may_read = bindings::down_read_trylock(semaphore) != 0;

            if may_read {
                bindings::up_read(semaphore);
            }

            let may_write = bindings::down_write_trylock(semaphore) != 0;

            if may_write {
                bindings::up_write(semaphore);
            }
            (may_read, may_write)
        }
    }

    #[test]
    fn a_change_excludes_readers_while_it_lasts() -> Result {
        let mut writer = Writer::new(1)?;
        let reader = writer.reader();

        assert_eq!(others(&reader), (true, true));

        let mut value = writer.change();

        assert_eq!(others(&reader), (false, false));
        *value = 2;
        assert_eq!(*value, 2);
        drop(value);
        assert_eq!(others(&reader), (true, true));
        assert_eq!((*writer, *reader.read()), (2, 2));
        Ok(())
    }

    #[test]
    fn readers_exclude_a_change_and_not_each_other() -> Result {
        let writer = Writer::new(1)?;
        let reader = writer.reader();
        let value = reader.read();

        assert_eq!(others(&reader), (true, false));
        // The writer needs no lock to read.
        assert_eq!((*writer, *value), (1, 1));
        drop(value);
        assert_eq!(others(&reader), (true, true));
        Ok(())
    }

    #[test]
    fn a_reader_keeps_the_value() -> Result {
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
