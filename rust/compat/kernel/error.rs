// SPDX-License-Identifier: GPL-2.0

//! Kernel errors.

pub use kernel::error::*;

/// The error codes, with those that 7.3 added.
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

    /// An error of a kernel whose own constructor of constants is private.
    const fn error<const ERRNO: u32>() -> Error {
        const { assert!(0 < ERRNO && ERRNO <= bindings::MAX_ERRNO, "invalid errno") };

        // CAST: By the assertion, it is small.
        // SAFETY: The only field of `Error` is a `NonZeroI32`. `transmute()` requires both to be of
        // the same size, so the field is all of it. By the assertion it is an errno, as the type
        // invariants of `Error` want it.
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
