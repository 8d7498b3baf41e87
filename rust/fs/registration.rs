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

/// The registration of a type of filesystem: as long as it exists, one can be mounted.
///
/// It belongs in the module's own data, pinned, until the module goes: what is mounted refers to
/// it, and to the module.
///
/// # Invariants
///
/// `inner` is a `struct file_system_type` that is registered.
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

// SAFETY: A shared `Registration` gives access to nothing.
unsafe impl<T: FileSystem> Sync for Registration<T> {}

impl<T: FileSystem> Registration<T> {
    /// Registers the type of filesystem `T`.
    ///
    /// # Errors
    ///
    /// - `EBUSY` if there is a type of this name.
    /// - `EINVAL` if the name has a dot, which separates a type from a subtype.
    pub fn new() -> impl PinInit<Self, Error> {
        // INVARIANT: The type is registered, or there is no `Self`.
        try_pin_init!(Self {
            inner <- Opaque::try_ffi_init(|slot: *mut bindings::file_system_type| {
                // `register_filesystem()` takes it for a bug.
                if T::NAME.to_bytes().contains(&b'.') {
                    return Err(EINVAL);
                }

                // SAFETY: `slot` is valid for a write.
                unsafe { slot.write(mount::VTable::<T>::TYPE) };

                // SAFETY: The type was just set up. It is pinned, and unregistered before it goes.
                to_result(unsafe { bindings::register_filesystem(slot) })
            }),
            _type: PhantomData,
        })
    }
}

#[pinned_drop]
impl<T: FileSystem> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants. It fails if the type is not registered only.
        unsafe { bindings::unregister_filesystem(self.inner.get()) };

        // Inodes that were evicted go by `free_inode()`, which is the module's, after a grace
        // period. Nothing that is mounted pins the module any more, and `unregister_filesystem()`
        // waits for readers only.
        rcu_barrier();
    }
}
