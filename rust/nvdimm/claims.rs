// SPDX-License-Identifier: GPL-2.0

//! Counts the claims of a namespace's memory.

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

/// The number of claims of a namespace's memory.
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

    /// Waits until there is no claim. Calls `before_wait` first if there is one.
    pub(super) fn wait(&self, before_wait: impl FnOnce()) {
        let mut number = self.number.lock();

        if *number != 0 {
            before_wait();
        }
        while *number != 0 {
            self.none_left.wait(&mut number);
        }
    }
}

/// A counted claim. The unbind of the namespace waits until this is dropped.
///
/// # Invariants
///
/// `self.0` counts this claim.
pub(crate) struct CountedClaim(Arc<Claims>);

impl CountedClaim {
    pub(super) fn new(claims: &Arc<Claims>) -> Self {
        let mut number = claims.number.lock();

        // INVARIANT: The number now includes this claim. Each claim uses memory, so the number
        // cannot overflow.
        *number = number.saturating_add(1);
        Self(claims.clone())
    }
}

impl Drop for CountedClaim {
    fn drop(&mut self) {
        let mut number = self.0.number.lock();

        *number = number.saturating_sub(1);
        self.0.none_left.notify_all();
    }
}
