// SPDX-License-Identifier: GPL-2.0

//! The claims of the memory of a namespace.

use kernel::{
    prelude::*,
    sync::{
        new_condvar,
        new_mutex,
        Arc,
        CondVar,
        Mutex, //
    },
};

/// The claims of the memory of a namespace.
#[pin_data]
pub(super) struct Claims {
    #[pin]
    number: Mutex<usize>,
    #[pin]
    none_left: CondVar,
}

impl Claims {
    pub(super) fn new() -> Result<Arc<Self>> {
        let claims = pin_init!(Self {
            number <- new_mutex!(0),
            none_left <- new_condvar!(),
        });

        Arc::pin_init(claims, GFP_KERNEL)
    }

    /// Waits until there is no claim. `left` is called once if there is one.
    pub(super) fn wait(&self, left: impl FnOnce()) {
        let mut number = self.number.lock();

        if *number != 0 {
            left();
        }
        while *number != 0 {
            self.none_left.wait(&mut number);
        }
    }
}

/// A claim that unbinding the namespace waits for, until this is dropped.
///
/// # Invariants
///
/// `self.0` counts it.
pub(crate) struct Claimed(Arc<Claims>);

impl Claimed {
    pub(super) fn new(claims: &Arc<Claims>) -> Self {
        let mut number = claims.number.lock();

        // INVARIANT: It is counted here. One cannot have so many that the number overflows.
        *number = number.saturating_add(1);
        Self(claims.clone())
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        let mut number = self.0.number.lock();

        *number = number.saturating_sub(1);
        self.0.none_left.notify_all();
    }
}
