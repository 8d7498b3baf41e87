// SPDX-License-Identifier: GPL-2.0

//! The binding of a driver to a namespace.

use kernel::{
    prelude::*,
    sync::{
        atomic::Release,
        Arc, //
    },
};

use super::Namespace;

/// The binding of a driver to a namespace, which is the device's private data.
#[pin_data]
pub struct Binding<T> {
    // Dropped first, for it may need the namespace to be bound.
    #[pin]
    data: T,
    _unbind: Unbind,
}

impl<T> Binding<T> {
    pub(super) fn new(unbind: Unbind, data: impl PinInit<T, Error>) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _unbind: unbind,
            data <- data,
        })
    }

    pub(super) fn data(&self) -> &T {
        &self.data
    }
}

/// Lets a namespace go when dropped: nobody can take it for bound any more, and those who did are
/// waited for. Then the claims of its memory are waited for. They were dropped with the driver's
/// data, unless the driver has kept one elsewhere: memory must not go while it can be accessed.
pub(super) struct Unbind(Arc<Namespace>);

impl Unbind {
    /// Says that a namespace is bound from now on.
    ///
    /// # Safety
    ///
    /// Its device must be bound, or being bound, until the value has been dropped.
    pub(super) unsafe fn new(namespace: Arc<Namespace>) -> Self {
        // INVARIANT: By the safety requirements.
        namespace.is_bound.store(true, Release);
        Self(namespace)
    }
}

impl Drop for Unbind {
    fn drop(&mut self) {
        self.0.is_bound.store(false, Release);
        // Who claims memory is one of those who are waited for first.
        self.0.users.synchronize();
        self.0.claims.wait(|| {
            dev_warn!(
                self.0.device(),
                "driver still uses the memory, unbinding waits until it does not\n"
            )
        });
    }
}
