// SPDX-License-Identifier: GPL-2.0

//! Sleepable read-copy update (SRCU), as `kernel::sync::srcu` of 7.3.
//!
//! C header: [`include/linux/srcu.h`](srctree/include/linux/srcu.h)

use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    sync::LockClassKey,
    types::{
        NotThreadSafe,
        Opaque, //
    },
};

/// Bindings to the helpers next to this file.
#[allow(
    clippy::undocumented_unsafe_blocks,
    improper_ctypes,
    missing_docs,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]
mod helpers {
    use kernel::{
        bindings::*,
        ffi, //
    };

    include!(concat!(
        env!("DAXMF_OBJ"),
        "/rust/compat/helpers_generated.rs"
    ));
}

/// Creates an [`Srcu`] initialiser with the given name and a newly-created lock class.
#[doc(hidden)]
#[macro_export]
macro_rules! new_srcu {
    ($($name:literal)?) => {
        $crate::sync::Srcu::new($crate::optional_name!($($name)?), $crate::static_lock_class!())
    };
}
pub use new_srcu;

/// A domain of sleepable read-copy update.
///
/// Its drop waits for readers. It never returns if a [`Guard`] was forgotten.
///
/// # Invariants
///
/// `inner` was initialized by `init_srcu_struct()`, and is so until the drop has run.
#[pin_data(PinnedDrop)]
pub struct Srcu {
    #[pin]
    inner: Opaque<bindings::srcu_struct>,
}

// SAFETY: `cleanup_srcu_struct()` may run on another thread than `init_srcu_struct()`.
unsafe impl Send for Srcu {}
// SAFETY: The functions of include/linux/srcu.h that take a domain may run at the same time on any
// threads, but for `cleanup_srcu_struct()`, which only the drop calls.
unsafe impl Sync for Srcu {}

impl Srcu {
    /// Creates a domain.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // INVARIANT: `init_srcu_struct()` succeeded.
            inner <- Opaque::try_ffi_init(|domain: *mut bindings::srcu_struct| {
                // SAFETY: `Opaque` passes memory for a `struct srcu_struct`, which does not move.
                // Name and key live as long as the kernel may use them.
                to_result(unsafe {
                    helpers::init_srcu_struct_with_key(domain, name.as_char_ptr(), key.as_ptr())
                })
            }),
        })
    }

    /// Enters a section that [`synchronize()`](Self::synchronize) waits for.
    #[inline]
    pub fn read_lock(&self) -> Guard<'_> {
        // INVARIANT: The index is that of this section.
        Guard {
            srcu: self,
            // SAFETY: `inner` is initialized by the type invariants.
            index: unsafe { helpers::srcu_read_lock(self.inner.get()) },
            _not_send: NotThreadSafe,
        }
    }

    /// Waits until all sections have ended that were entered before.
    pub fn synchronize(&self) {
        // SAFETY: `inner` is initialized by the type invariants.
        unsafe { bindings::synchronize_srcu(self.inner.get()) };
    }
}

#[pinned_drop]
impl PinnedDrop for Srcu {
    fn drop(self: Pin<&mut Self>) {
        let domain = self.inner.get();

        // Only a forgotten guard can still be in a section. `cleanup_srcu_struct()` would leave the
        // domain as it is then, and we would free it under its work items: wait, for ever.
        self.synchronize();

        // SAFETY: `domain` is initialized by the type invariants, and nobody uses it any more.
        unsafe { bindings::srcu_barrier(domain) };
        // SAFETY: `domain` is initialized by the type invariants. `synchronize_srcu()` has waited
        // for its readers and `srcu_barrier()` for its callbacks.
        unsafe { bindings::cleanup_srcu_struct(domain) };
    }
}

/// A section of a reader. It ends when this is dropped.
///
/// # Invariants
///
/// `index` is what `srcu_read_lock()` returned for `srcu`.
#[must_use = "the section ends when this is dropped"]
pub struct Guard<'a> {
    srcu: &'a Srcu,
    index: c_int,
    _not_send: NotThreadSafe,
}

impl Drop for Guard<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariants, the index is that of a section of this domain. The guard
        // cannot leave the thread that has entered it.
        unsafe { helpers::srcu_read_unlock(self.srcu.inner.get(), self.index) };
    }
}
