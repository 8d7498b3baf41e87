// SPDX-License-Identifier: GPL-2.0

//! Types of filesystems.

use core::marker::PhantomData;

use kernel::{
    error::to_result,
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
/// The registration must be part of the pinned data of the module, because mounted filesystems
/// refer to the registration and to the module.
///
/// # Invariants
///
/// `inner` is a registered `struct file_system_type`.
///
/// # Examples
///
/// ```
/// use daxmf::fs::{FileSystem, Registration};
///
/// #[pin_data]
/// struct Module<T: FileSystem> {
///     #[pin]
///     registration: Registration<T>,
/// }
///
/// impl<T: FileSystem> Module<T> {
///     fn new() -> impl PinInit<Self, Error> {
///         try_pin_init!(Self {
///             registration <- Registration::new(),
///         })
///     }
/// }
/// ```
#[pin_data(PinnedDrop)]
pub struct Registration<T: FileSystem> {
    #[pin]
    inner: Opaque<bindings::file_system_type>,
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
    pub fn new() -> impl PinInit<Self, Error> {
        // INVARIANT: If `register_filesystem()` fails, the initializer fails.
        try_pin_init!(Self {
            inner <- Opaque::try_ffi_init(|slot: *mut bindings::file_system_type| {
                // `register_filesystem()` calls `BUG()` for a dot.
                if T::NAME.to_bytes().contains(&b'.') {
                    return Err(EINVAL);
                }

                // SAFETY: `slot` is valid for a write.
                unsafe { slot.write(mount::VTable::<T>::TYPE) };

                // SAFETY: `slot` is initialized above, and pinned. `drop()` unregisters the type.
                to_result(unsafe { bindings::register_filesystem(slot) })
            }),
            _type: PhantomData,
        })
    }
}

#[pinned_drop]
impl<T: FileSystem> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: `inner` is a registered `struct file_system_type` by the type invariants.
        // `unregister_filesystem()` fails only for a type that is not registered.
        unsafe { bindings::unregister_filesystem(self.inner.get()) };

        // RCU calls `free_inode()`, a function of the filesystem's module, for evicted inodes after
        // a grace period. `unregister_filesystem()` waits for readers of RCU only, not for its
        // callbacks.
        rcu_barrier();
    }
}
