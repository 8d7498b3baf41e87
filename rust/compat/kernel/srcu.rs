// SPDX-License-Identifier: GPL-2.0

//! Sleepable read-copy update (SRCU), like `kernel::sync::srcu` of Linux 7.3.
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
/// Its drop waits for readers. The drop never returns if `core::mem::forget()` was called for a
/// [`Guard`].
///
/// # Invariants
///
/// `init_srcu_struct()` has initialized `inner`. Only the drop cleans it up.
#[pin_data(PinnedDrop)]
pub struct Srcu {
    #[pin]
    inner: Opaque<bindings::srcu_struct>,
}

// SAFETY: `cleanup_srcu_struct()` may be called on another thread than `init_srcu_struct()`.
unsafe impl Send for Srcu {}
// SAFETY: The functions of include/linux/srcu.h that take a domain may run at the same time on any
// threads. The exception is `cleanup_srcu_struct()`, which only the drop calls.
unsafe impl Sync for Srcu {}

impl Srcu {
    /// Creates a domain.
    ///
    /// # Errors
    ///
    /// - `ENOMEM` if memory is short.
    pub fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // INVARIANT: `init_srcu_struct()` initializes `inner`, or the initializer fails.
            inner <- Opaque::try_ffi_init(|domain: *mut bindings::srcu_struct| {
                // SAFETY: `Opaque` passes memory for a `struct srcu_struct`, which is pinned.
                // `name` and `key` are static.
                to_result(unsafe {
                    helpers::init_srcu_struct_with_key(domain, name.as_char_ptr(), key.as_ptr())
                })
            }),
        })
    }

    /// Enters a section that [`synchronize()`](Self::synchronize) waits for.
    #[inline]
    pub fn read_lock(&self) -> Guard<'_> {
        // INVARIANT: `srcu_read_lock()` returns the index of this section.
        Guard {
            srcu: self,
            // SAFETY: `inner` is initialized by the type invariants.
            index: unsafe { helpers::srcu_read_lock(self.inner.get()) },
            _not_send: NotThreadSafe,
        }
    }

    /// Waits until all sections that were entered before the call have ended.
    pub fn synchronize(&self) {
        // SAFETY: `inner` is initialized by the type invariants.
        unsafe { bindings::synchronize_srcu(self.inner.get()) };
    }
}

#[pinned_drop]
impl PinnedDrop for Srcu {
    fn drop(self: Pin<&mut Self>) {
        let domain = self.inner.get();

        // No guard borrows `self` any more, but a forgotten guard has not ended its section.
        // `cleanup_srcu_struct()` would then leave the work items of the domain running, and they
        // would use the domain after it is freed. `synchronize_srcu()` waits for ever instead.
        self.synchronize();

        // SAFETY: `domain` is initialized by the type invariants, and `&mut self` excludes other
        // users.
        unsafe { bindings::srcu_barrier(domain) };
        // SAFETY: `domain` is initialized by the type invariants. `synchronize_srcu()` has waited
        // for its readers and `srcu_barrier()` for its callbacks.
        unsafe { bindings::cleanup_srcu_struct(domain) };
    }
}

/// A read section. The drop ends it.
///
/// # Invariants
///
/// `srcu_read_lock()` returned `index` for `srcu`, on this thread.
#[must_use = "the section ends when this is dropped"]
pub struct Guard<'a> {
    srcu: &'a Srcu,
    index: c_int,
    _not_send: NotThreadSafe,
}

impl Drop for Guard<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: `srcu_read_lock()` returned the index for this domain by the type invariants. The
        // guard is not `Send`, so this is the same thread.
        unsafe { helpers::srcu_read_unlock(self.srcu.inner.get(), self.index) };
    }
}
