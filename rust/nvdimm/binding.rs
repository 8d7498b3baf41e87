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

/// The binding of a driver to a namespace: the private data of the namespace's device.
#[pin_data]
pub struct Binding<T> {
    // Dropped first, because its drop may need the namespace to be bound.
    #[pin]
    data: T,
    _unbind: UnbindGuard,
}

impl<T> Binding<T> {
    pub(super) fn new(
        unbind: UnbindGuard,
        data: impl PinInit<T, Error>,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _unbind: unbind,
            data <- data,
        })
    }

    pub(super) fn data(&self) -> &T {
        &self.data
    }
}

/// Marks a namespace as bound. The drop removes the mark, and waits for all
/// [`super::namespace::Bound`] guards. Then it waits for the claims of the namespace's memory,
/// because code can access the memory as long as it is claimed. The driver's data usually contains
/// these claims, and is dropped before.
pub(super) struct UnbindGuard(Arc<Namespace>);

impl UnbindGuard {
    /// Marks `namespace` as bound.
    ///
    /// # Safety
    ///
    /// The device of the namespace must be bound, or being bound, until the returned value has been
    /// dropped.
    pub(super) unsafe fn new(namespace: Arc<Namespace>) -> Self {
        // INVARIANT: The device is bound while `is_bound` is set, by the safety requirements.
        namespace.is_bound.store(true, Release);
        Self(namespace)
    }
}

impl Drop for UnbindGuard {
    fn drop(&mut self) {
        self.0.is_bound.store(false, Release);
        // `Bound::claim()` needs a guard that this waits for, so no claim is added afterwards.
        self.0.users.synchronize();
        self.0.claims.wait(|| {
            dev_warn!(
                self.0.device(),
                "unbind waits: the driver still has a claim of the memory\n"
            )
        });
    }
}
