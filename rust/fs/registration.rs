// SPDX-License-Identifier: GPL-2.0

//! Types of filesystems.

use core::{
    marker::PhantomData,
    mem::ManuallyDrop, //
};

use kernel::{
    error::to_result,
    module::this_module,
    prelude::*,
    sync::rcu::rcu_barrier,
    types::Opaque, //
};

use crate::bindings;

use super::{
    mount,
    FileSystem, //
};

/// The registration of a filesystem type. While it exists, filesystems of this type can be mounted.
///
/// The registration should be part of the data of the module, so that it is dropped when the module
/// is unloaded. If it is dropped while a filesystem of this type is mounted, the filesystem stays
/// mounted, and the module can never be unloaded. Create it last in `init()`: if `init()` fails,
/// the kernel frees the module even if a user has mounted a filesystem meanwhile.
///
/// # Invariants
///
/// `inner` is a registered `struct file_system_type`, and lockdep knows its keys.
///
/// # Examples
///
/// ```
/// use daxmf::fs::{FileSystem, Registration};
///
/// struct Module<T: FileSystem> {
///     registration: Registration<T>,
/// }
///
/// impl<T: FileSystem> Module<T> {
///     fn new() -> Result<Self> {
///         Ok(Self {
///             registration: Registration::new()?,
///         })
///     }
/// }
/// ```
pub struct Registration<T: FileSystem> {
    inner: ManuallyDrop<KBox<Opaque<bindings::file_system_type>>>,
    _type: PhantomData<T>,
}

// SAFETY: `unregister_filesystem()` may be called from any thread.
unsafe impl<T: FileSystem> Send for Registration<T> {}

// SAFETY: A shared reference to a `Registration` has no methods.
unsafe impl<T: FileSystem> Sync for Registration<T> {}

impl<T: FileSystem> Registration<T> {
    /// Registers the filesystem type `T`.
    ///
    /// # Errors
    ///
    /// - `EBUSY` if a type of this name is registered already.
    /// - `EINVAL` if the name has a dot, which separates a type from a subtype.
    /// - `ENOMEM` if memory is short.
    pub fn new() -> Result<Self> {
        // `register_filesystem()` calls `BUG()` for a dot.
        if T::NAME.to_bytes().contains(&b'.') {
            return Err(EINVAL);
        }

        let inner = KBox::new(Opaque::new(mount::VTable::<T>::TYPE), GFP_KERNEL)?;

        // SAFETY: `inner` is initialized. Its keys are zero, and not registered yet. They are
        // unregistered below, or by `drop()`, before `inner` is freed.
        unsafe { for_each_key(inner.get(), |key| bindings::lockdep_register_key(key)) };

        // SAFETY: `inner` is initialized. `drop()` unregisters the type before it frees `inner`.
        let registered = to_result(unsafe { bindings::register_filesystem(inner.get()) });

        if registered.is_err() {
            // SAFETY: The keys were registered above, and no lock uses them.
            unsafe { for_each_key(inner.get(), |key| bindings::lockdep_unregister_key(key)) };
        }
        registered?;

        // INVARIANT: `inner` and its keys were just registered.
        Ok(Self {
            inner: ManuallyDrop::new(inner),
            _type: PhantomData,
        })
    }

    /// Whether the module of the filesystem has users. Each superblock and each context of a mount
    /// refers to the type, and has a reference to the module.
    fn is_in_use() -> bool {
        let module = this_module::<T::OwnerModule>().as_ptr();

        // A filesystem that is built into the kernel has no module that counts its users.
        if module.is_null() {
            return true;
        }

        // SAFETY: The code of the module is running, so its `struct module` is valid. The module
        // loader writes the state before and after `init()`, and before the exit.
        let (state, count) = unsafe {
            (
                (&raw const (*module).state).read_volatile(),
                bindings::module_refcount(module),
            )
        };
        // The module loader has a reference while `init()` is running.
        let own = match state {
            bindings::module_state_MODULE_STATE_COMING => 1,
            _ => 0,
        };

        count > own
    }
}

impl<T: FileSystem> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: `inner` is a registered `struct file_system_type` by the type invariants.
        // `unregister_filesystem()` fails only for a type that is not registered.
        unsafe { bindings::unregister_filesystem(self.inner.get()) };

        // Superblocks use `inner`, and RCU calls `free_inode()` after they are gone. So keep
        // `inner`, and the module.
        if Self::is_in_use() {
            // SAFETY: The code of the module is running, so its `struct module` is valid. The
            // function accepts null.
            unsafe { bindings::try_module_get(this_module::<T::OwnerModule>().as_ptr()) };
            return;
        }

        // RCU calls `free_inode()`, a function of the filesystem's module, for evicted inodes after
        // a grace period. `unregister_filesystem()` waits for readers of RCU only, not for its
        // callbacks.
        rcu_barrier();
        // SAFETY: `new()` has registered the keys, and their locks are gone with the superblocks
        // and inodes. `inner` is not used after this.
        unsafe {
            for_each_key(self.inner.get(), |key| {
                bindings::lockdep_unregister_key(key)
            });
            ManuallyDrop::drop(&mut self.inner);
        }
    }
}

/// Calls `f` with each key of lockdep in `inner`. Without `CONFIG_LOCKDEP`, keys have no bytes.
///
/// # Safety
///
/// `inner` must be valid.
unsafe fn for_each_key(
    inner: *mut bindings::file_system_type,
    f: impl Fn(*mut bindings::lock_class_key),
) {
    // SAFETY: `inner` is valid by the safety requirements.
    let (keys, writers) = unsafe {
        (
            [
                &raw mut (*inner).s_lock_key,
                &raw mut (*inner).s_umount_key,
                &raw mut (*inner).s_vfs_rename_key,
                &raw mut (*inner).i_lock_key,
                &raw mut (*inner).i_mutex_key,
                &raw mut (*inner).invalidate_lock_key,
                &raw mut (*inner).i_mutex_dir_key,
            ],
            &raw mut (*inner).s_writers_key,
        )
    };

    keys.into_iter().for_each(&f);
    elements(writers).for_each(f);
}

/// Pointers to the elements of an array.
fn elements<E, const N: usize>(array: *mut [E; N]) -> impl Iterator<Item = *mut E> {
    (0..N).map(move |index| array.cast::<E>().wrapping_add(index))
}
