// SPDX-License-Identifier: GPL-2.0

//! The locks of an inode, and the freeze protection of a superblock.
//!
//! The order of the locks is: the inode's lock ([`Locked`], [`SharedLocked`]), the freeze
//! protection of a page fault, the `invalidate_lock` of the mapping ([`InvalidateLock`],
//! [`SharedInvalidateLock`]), and the lock of pages that several files share
//! ([`SharedPages`](super::shared_pages::SharedPages)).
//!
//! A method that needs the inode's lock is one of [`LockedInode`]. A method that needs the
//! `invalidate_lock` of the mapping takes a `&InvalidateLock`.

use core::{
    marker::PhantomData,
    ops::Deref, //
};

use kernel::{
    current,
    prelude::*,
    time::{
        delay::fsleep,
        Delta, //
    },
    types::NotThreadSafe, //
};

use crate::bindings;

use super::{
    FileSystem,
    Inode,
    SuperBlock, //
};

/// An inode that this thread has locked. No other thread changes the inode. Other threads can
/// change its contents through a mapping only.
///
/// # Invariants
///
/// This thread holds the inode's lock while this is borrowed.
#[repr(transparent)]
pub(super) struct LockedInode<T: FileSystem>(Inode<T>, NotThreadSafe);

impl<T: FileSystem> LockedInode<T> {
    /// Borrows an inode as locked.
    ///
    /// # Safety
    ///
    /// This thread must hold the lock of `inode` while the returned value is borrowed.
    pub(super) unsafe fn assume(inode: &Inode<T>) -> &Self {
        // INVARIANT: This thread holds the lock by the safety requirements.
        // SAFETY: `LockedInode` is a transparent wrapper of `Inode`.
        unsafe { &*core::ptr::from_ref(inode).cast() }
    }
}

impl<T: FileSystem> Deref for LockedInode<T> {
    type Target = Inode<T>;

    fn deref(&self) -> &Inode<T> {
        &self.0
    }
}

/// Proof that this thread holds the inode's lock, shared or exclusive: the contents can change
/// through a mapping only.
pub(super) trait AnyLock {}

impl<T: FileSystem> AnyLock for LockedInode<T> {}

impl AnyLock for SharedLocked<'_> {}

/// The exclusive lock of an inode. It dereferences to a [`LockedInode`].
///
/// # Invariants
///
/// This thread holds the lock of `inode`.
///
/// C: `inode_lock()`
pub(super) struct Locked<'a, T: FileSystem> {
    inode: &'a Inode<T>,
    _not_send: NotThreadSafe,
}

impl<'a, T: FileSystem> Locked<'a, T> {
    /// Takes the lock.
    pub(super) fn new(inode: &'a Inode<T>) -> Self {
        // INVARIANT: The lock is taken here.
        // SAFETY: `inode` is valid by the type invariants of `Inode`.
        unsafe { bindings::inode_lock(inode.as_raw()) };
        Self {
            inode,
            _not_send: NotThreadSafe,
        }
    }

    /// Takes the lock if no other thread holds it.
    pub(super) fn try_new(inode: &'a Inode<T>) -> Option<Self> {
        // SAFETY: `inode` is valid by the type invariants of `Inode`.
        let is_taken = unsafe { bindings::inode_trylock(inode.as_raw()) } != 0;

        // INVARIANT: The lock was just taken.
        is_taken.then(|| Self {
            inode,
            _not_send: NotThreadSafe,
        })
    }
}

impl<T: FileSystem> Deref for Locked<'_, T> {
    type Target = LockedInode<T>;

    fn deref(&self) -> &LockedInode<T> {
        // SAFETY: This thread holds the lock of `inode` by the type invariants, while `self` is
        // borrowed.
        unsafe { LockedInode::assume(self.inode) }
    }
}

impl<T: FileSystem> Drop for Locked<'_, T> {
    fn drop(&mut self) {
        // SAFETY: This thread holds the lock of `inode` by the type invariants.
        unsafe { bindings::inode_unlock(self.inode.as_raw()) };
    }
}

/// The shared lock of an inode: its contents can change through a mapping only.
///
/// # Invariants
///
/// `inode` is valid for the duration of `'a`, and this thread holds its lock shared.
///
/// C: `inode_lock_shared()`
pub(super) struct SharedLocked<'a> {
    inode: *mut bindings::inode,
    _inode: PhantomData<&'a ()>,
    _not_send: NotThreadSafe,
}

impl<'a> SharedLocked<'a> {
    /// Takes the lock.
    pub(super) fn new<T: FileSystem>(inode: &'a Inode<T>) -> Self {
        // INVARIANT: The lock is taken here.
        // SAFETY: `inode` is valid by the type invariants of `Inode`.
        unsafe { bindings::inode_lock_shared(inode.as_raw()) };
        Self {
            inode: inode.as_raw(),
            _inode: PhantomData,
            _not_send: NotThreadSafe,
        }
    }

    /// Takes the lock if that needs no waiting.
    pub(super) fn try_new<T: FileSystem>(inode: &'a Inode<T>) -> Option<Self> {
        // SAFETY: `inode` is valid by the type invariants of `Inode`.
        let is_taken = unsafe { bindings::inode_trylock_shared(inode.as_raw()) } != 0;

        // INVARIANT: The lock was just taken.
        is_taken.then(|| Self {
            inode: inode.as_raw(),
            _inode: PhantomData,
            _not_send: NotThreadSafe,
        })
    }
}

impl Drop for SharedLocked<'_> {
    fn drop(&mut self) {
        // SAFETY: `inode` is valid, and this thread holds its lock shared, by the type invariants.
        unsafe { bindings::inode_unlock_shared(self.inode) };
    }
}

/// The exclusive locks of two inodes, which can be the same.
///
/// # Invariants
///
/// This thread holds the locks of both inodes.
///
/// C: `lock_two_nondirectories()`
pub(super) struct BothLocked<'a, T: FileSystem> {
    one: &'a Inode<T>,
    other: &'a Inode<T>,
    _not_send: NotThreadSafe,
}

impl<'a, T: FileSystem> BothLocked<'a, T> {
    /// Takes the locks.
    pub(super) fn new(one: &'a Inode<T>, other: &'a Inode<T>) -> Self {
        // INVARIANT: The locks are taken here.
        // SAFETY: `one` and `other` are valid by the type invariants of `Inode`.
        unsafe { bindings::lock_two_nondirectories(one.as_raw(), other.as_raw()) };
        Self {
            one,
            other,
            _not_send: NotThreadSafe,
        }
    }

    /// The two inodes, in the order of the arguments of [`new()`](Self::new).
    pub(super) fn inodes(&self) -> (&LockedInode<T>, &LockedInode<T>) {
        // SAFETY: This thread holds the locks of both inodes by the type invariants, while `self`
        // is borrowed.
        unsafe {
            (
                LockedInode::assume(self.one),
                LockedInode::assume(self.other),
            )
        }
    }
}

impl<T: FileSystem> Drop for BothLocked<'_, T> {
    fn drop(&mut self) {
        // SAFETY: This thread holds the locks of both inodes by the type invariants.
        unsafe { bindings::unlock_two_nondirectories(self.one.as_raw(), self.other.as_raw()) };
    }
}

/// Freeze protection for a change that the filesystem makes outside of a system call. A freeze of
/// the superblock waits for its end.
///
/// # Invariants
///
/// `super_block` is valid for the duration of `'a`, and this thread has called
/// `sb_start_intwrite()` for it.
///
/// C: `sb_start_intwrite()`
pub(super) struct InternalWrite<'a> {
    super_block: *mut bindings::super_block,
    _super_block: PhantomData<&'a ()>,
    _not_send: NotThreadSafe,
}

impl<'a> InternalWrite<'a> {
    /// Waits until the superblock is thawed, if it is frozen.
    pub(super) fn new<T: FileSystem>(super_block: &'a SuperBlock<T>) -> Self {
        // INVARIANT: `sb_start_intwrite()` is called here.
        // SAFETY: `super_block` is valid by the type invariants of `SuperBlock`.
        unsafe { bindings::sb_start_intwrite(super_block.as_raw()) };
        Self {
            super_block: super_block.as_raw(),
            _super_block: PhantomData,
            _not_send: NotThreadSafe,
        }
    }

    /// Returns [`None`] if the superblock is frozen, or is being frozen.
    pub(super) fn try_new<T: FileSystem>(super_block: &'a SuperBlock<T>) -> Option<Self> {
        // SAFETY: `super_block` is valid by the type invariants of `SuperBlock`.
        let is_started = unsafe { bindings::sb_start_intwrite_trylock(super_block.as_raw()) };

        // INVARIANT: `sb_start_intwrite_trylock()` has succeeded.
        is_started.then(|| Self {
            super_block: super_block.as_raw(),
            _super_block: PhantomData,
            _not_send: NotThreadSafe,
        })
    }
}

impl Drop for InternalWrite<'_> {
    fn drop(&mut self) {
        // SAFETY: `super_block` is valid, and this thread has called `sb_start_intwrite()` for it,
        // by the type invariants.
        unsafe { bindings::sb_end_intwrite(self.super_block) };
    }
}

/// The exclusive `invalidate_lock` of the mapping of one inode or of two: no page fault of these
/// inodes is running.
///
/// # Invariants
///
/// `one` and `other` are valid mappings for the duration of `'a`, and can be the same. This thread
/// holds their `invalidate_lock` exclusively.
///
/// C: `filemap_invalidate_lock()`
pub(super) struct InvalidateLock<'a> {
    one: *mut bindings::address_space,
    other: *mut bindings::address_space,
    _inodes: PhantomData<&'a ()>,
    _not_send: NotThreadSafe,
}

impl<'a> InvalidateLock<'a> {
    /// Takes the lock of one mapping.
    pub(super) fn new<T: FileSystem>(inode: &'a Inode<T>) -> Self {
        Self::both(inode, inode)
    }

    /// Takes the locks of two mappings.
    pub(super) fn both<T: FileSystem>(one: &'a Inode<T>, other: &'a Inode<T>) -> Self {
        let invalidate_lock = Self {
            one: one.mapping(),
            other: other.mapping(),
            _inodes: PhantomData,
            _not_send: NotThreadSafe,
        };

        // INVARIANT: The locks are taken here.
        invalidate_lock.lock();
        invalidate_lock
    }

    /// Takes the lock of one mapping if no other thread holds it.
    pub(super) fn try_new<T: FileSystem>(inode: &'a Inode<T>) -> Option<Self> {
        let mapping = inode.mapping();
        // SAFETY: `inode` is valid by the type invariants of `Inode`, so its mapping is valid.
        let is_taken = unsafe { bindings::down_write_trylock(&raw mut (*mapping).invalidate_lock) };

        // INVARIANT: The lock was just taken.
        (is_taken != 0).then(|| Self {
            one: mapping,
            other: mapping,
            _inodes: PhantomData,
            _not_send: NotThreadSafe,
        })
    }

    fn lock(&self) {
        // SAFETY: Both mappings are valid by the type invariants. If they are the same,
        // `filemap_invalidate_lock_two()` locks the mapping once.
        unsafe { bindings::filemap_invalidate_lock_two(self.one, self.other) };
    }

    fn unlock(&self) {
        // SAFETY: This thread holds both locks by the type invariants.
        unsafe { bindings::filemap_invalidate_unlock_two(self.one, self.other) };
    }

    /// Releases the lock for a millisecond, so that page faults can run.
    pub(super) fn release_briefly(&mut self) {
        self.unlock();
        fsleep(Delta::from_millis(1));
        self.lock();
    }

    /// Releases the lock for a millisecond, so that page faults can run and the user of a page can
    /// finish.
    ///
    /// # Errors
    ///
    /// - `ERESTARTSYS` if a signal is pending.
    pub(super) fn wait(&mut self) -> Result {
        if current!().signal_pending() {
            return Err(ERESTARTSYS);
        }
        self.release_briefly();
        Ok(())
    }
}

impl Drop for InvalidateLock<'_> {
    fn drop(&mut self) {
        self.unlock();
    }
}

/// The shared `invalidate_lock` of the mapping of an inode: only page faults change the location of
/// the contents.
///
/// # Invariants
///
/// `self.mapping` is valid for the duration of `'a`, and this thread holds its `invalidate_lock`
/// shared.
///
/// C: `filemap_invalidate_lock_shared()`
pub(super) struct SharedInvalidateLock<'a> {
    mapping: *mut bindings::address_space,
    _inode: PhantomData<&'a ()>,
    _not_send: NotThreadSafe,
}

impl<'a> SharedInvalidateLock<'a> {
    /// Takes the lock.
    pub(super) fn new<T: FileSystem>(inode: &'a Inode<T>) -> Self {
        let mapping = inode.mapping();

        // INVARIANT: The lock is taken here.
        // SAFETY: `inode` is valid by the type invariants of `Inode`, so its mapping is valid.
        unsafe { bindings::filemap_invalidate_lock_shared(mapping) };
        Self {
            mapping,
            _inode: PhantomData,
            _not_send: NotThreadSafe,
        }
    }
}

impl Drop for SharedInvalidateLock<'_> {
    fn drop(&mut self) {
        // SAFETY: `self.mapping` is valid, and this thread holds its lock shared, by the type
        // invariants.
        unsafe { bindings::filemap_invalidate_unlock_shared(self.mapping) };
    }
}
