// SPDX-License-Identifier: GPL-2.0

//! The locks of an inode, and of a superblock that is frozen.
//!
//! They are taken in this order: the inode's own, which [`Locked`] and [`SharedLocked`] are, the
//! start of a page fault, that of its mapping, [`InvalidateLock`] and [`SharedInvalidateLock`], and
//! that of pages that lie in several files, [`SharedPages`](super::shared_pages::SharedPages).
//!
//! What needs the inode's own lock is a method of [`LockedInode`], what needs that of the mapping
//! takes a `&InvalidateLock`.

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

/// An inode that this thread has locked: nobody else changes it, or its contents other than through
/// a mapping.
///
/// # Invariants
///
/// This thread holds the inode's lock as long as this is borrowed.
#[repr(transparent)]
pub(super) struct LockedInode<T: FileSystem>(Inode<T>, NotThreadSafe);

impl<T: FileSystem> LockedInode<T> {
    /// # Safety
    ///
    /// This thread must hold the lock of the inode as long as it is borrowed.
    pub(super) unsafe fn assume(inode: &Inode<T>) -> &Self {
        // INVARIANT: By the safety requirements.
        // SAFETY: `LockedInode` is a transparent wrapper.
        unsafe { &*core::ptr::from_ref(inode).cast() }
    }
}

impl<T: FileSystem> Deref for LockedInode<T> {
    type Target = Inode<T>;

    fn deref(&self) -> &Inode<T> {
        &self.0
    }
}

/// Proof that nobody changes the contents of an inode other than through a mapping: its lock,
/// shared or not.
pub(super) trait AnyLock {}

impl<T: FileSystem> AnyLock for LockedInode<T> {}

impl AnyLock for SharedLocked<'_> {}

/// The lock of an inode, which is a [`LockedInode`] as long as this exists.
///
/// # Invariants
///
/// This thread has locked `inode`.
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
        // SAFETY: The inode is valid.
        unsafe { bindings::inode_lock(inode.as_raw()) };
        Self {
            inode,
            _not_send: NotThreadSafe,
        }
    }

    /// Takes the lock if nobody has it.
    pub(super) fn try_new(inode: &'a Inode<T>) -> Option<Self> {
        // SAFETY: The inode is valid.
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
        // SAFETY: By the type invariants.
        unsafe { LockedInode::assume(self.inode) }
    }
}

impl<T: FileSystem> Drop for Locked<'_, T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::inode_unlock(self.inode.as_raw()) };
    }
}

/// The shared lock of an inode: nobody changes its contents other than through a mapping.
///
/// # Invariants
///
/// `inode` is valid for the duration of `'a`, and this thread has locked it.
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
        // SAFETY: The inode is valid.
        unsafe { bindings::inode_lock_shared(inode.as_raw()) };
        Self {
            inode: inode.as_raw(),
            _inode: PhantomData,
            _not_send: NotThreadSafe,
        }
    }

    /// Takes the lock if nobody keeps us from it.
    pub(super) fn try_new<T: FileSystem>(inode: &'a Inode<T>) -> Option<Self> {
        // SAFETY: The inode is valid.
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
        // SAFETY: By the type invariants.
        unsafe { bindings::inode_unlock_shared(self.inode) };
    }
}

/// The locks of two inodes, or of one.
///
/// # Invariants
///
/// This thread has locked both.
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
        // SAFETY: The inodes are valid.
        unsafe { bindings::lock_two_nondirectories(one.as_raw(), other.as_raw()) };
        Self {
            one,
            other,
            _not_send: NotThreadSafe,
        }
    }

    /// The two inodes, in the order that they were given in.
    pub(super) fn inodes(&self) -> (&LockedInode<T>, &LockedInode<T>) {
        // SAFETY: By the type invariants.
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
        // SAFETY: By the type invariants.
        unsafe { bindings::unlock_two_nondirectories(self.one.as_raw(), self.other.as_raw()) };
    }
}

/// A change that the filesystem makes by itself, and no call of a user. A superblock that is being
/// frozen waits for its end.
///
/// # Invariants
///
/// `super_block` is valid for the duration of `'a`, and this thread has started a change of it.
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
        // INVARIANT: The change is started here.
        // SAFETY: The superblock is valid by its type invariants.
        unsafe { bindings::sb_start_intwrite(super_block.as_raw()) };
        Self {
            super_block: super_block.as_raw(),
            _super_block: PhantomData,
            _not_send: NotThreadSafe,
        }
    }

    /// Returns [`None`] if the superblock is frozen, or being frozen.
    pub(super) fn try_new<T: FileSystem>(super_block: &'a SuperBlock<T>) -> Option<Self> {
        // SAFETY: The superblock is valid by its type invariants.
        let is_started = unsafe { bindings::sb_start_intwrite_trylock(super_block.as_raw()) };

        // INVARIANT: The change was just started.
        is_started.then(|| Self {
            super_block: super_block.as_raw(),
            _super_block: PhantomData,
            _not_send: NotThreadSafe,
        })
    }
}

impl Drop for InternalWrite<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::sb_end_intwrite(self.super_block) };
    }
}

/// The lock of the mapping of an inode, or of two: no page fault of it is on its way.
///
/// # Invariants
///
/// Both are valid mappings for the duration of `'a`, or the same, and this thread has locked them.
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

    /// Takes the lock of one mapping if nobody has it.
    pub(super) fn try_new<T: FileSystem>(inode: &'a Inode<T>) -> Option<Self> {
        let mapping = inode.mapping();
        // SAFETY: The mapping of a valid inode is valid.
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
        // SAFETY: Both are valid by the type invariants. If they are the same, it is locked once.
        unsafe { bindings::filemap_invalidate_lock_two(self.one, self.other) };
    }

    fn unlock(&self) {
        // SAFETY: Both were locked by `lock()`.
        unsafe { bindings::filemap_invalidate_unlock_two(self.one, self.other) };
    }

    /// Lets page faults go on for a moment.
    pub(super) fn release_briefly(&mut self) {
        self.unlock();
        fsleep(Delta::from_millis(1));
        self.lock();
    }

    /// Lets page faults go on for a moment, for somebody to be done with a page.
    ///
    /// # Errors
    ///
    /// - `ERESTARTSYS` if there is a signal.
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

/// The shared lock of the mapping of an inode: what lies where changes by page faults only.
///
/// # Invariants
///
/// `self.mapping` is valid for the duration of `'a`, and this thread has locked it.
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
        // SAFETY: The mapping of a valid inode is valid.
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
        // SAFETY: By the type invariants.
        unsafe { bindings::filemap_invalidate_unlock_shared(self.mapping) };
    }
}
