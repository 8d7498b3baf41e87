// SPDX-License-Identifier: GPL-2.0

//! Kernel errors.

pub use kernel::error::*;

/// The error codes, including those that Linux 7.3 added.
pub mod code {
    use core::mem::transmute;

    use kernel::{
        bindings,
        error::Error, //
    };

    pub use kernel::error::code::*;

    macro_rules! declare_err {
        ($name:ident, $doc:literal) => {
            #[doc = $doc]
            pub const $name: Error = error::<{ bindings::$name }>();
        };
    }

    /// Creates an error in a constant. The kernel's own constructor for constants is private.
    const fn error<const ERRNO: u32>() -> Error {
        const { assert!(0 < ERRNO && ERRNO <= bindings::MAX_ERRNO, "invalid errno") };

        // CAST: `ERRNO` is at most `MAX_ERRNO` (4095) by the assertion.
        // SAFETY: The only field of `Error` is a `NonZeroI32`. `transmute()` requires that both
        // types have the same size, so `Error` has nothing else. By the assertion the value is a
        // negative errno, as the type invariants of `Error` require.
        unsafe { transmute::<i32, Error>(-(ERRNO as i32)) }
    }

    declare_err!(EDEADLK, "Resource deadlock would occur.");
    declare_err!(EHWPOISON, "Memory page has hardware error.");
    declare_err!(ELOOP, "Too many symbolic links encountered.");
    declare_err!(ENAMETOOLONG, "File name too long.");
    declare_err!(ENODATA, "No data available.");
    declare_err!(ENOTEMPTY, "Directory not empty.");
    declare_err!(EOPNOTSUPP, "Operation not supported on transport endpoint.");
    declare_err!(ESTALE, "Stale file handle.");
    declare_err!(EUCLEAN, "Structure needs cleaning.");
}
