// SPDX-License-Identifier: GPL-2.0

//! Module parameters that are strings.
//!
//! The kernel crate supports numbers and booleans only.
//!
//! C header: [`include/linux/moduleparam.h`](srctree/include/linux/moduleparam.h)

use core::cell::UnsafeCell;

use kernel::{
    ffi::c_char,
    prelude::*,
    str::as_char_ptr_in_const_context, //
};

use crate::bindings;

/// A module parameter: a string of at most `N - 1` bytes, empty by default.
///
/// Declare it with [`string_param!`](crate::string_param).
///
/// # Invariants
///
/// The bytes contain a NUL. The module loader writes them while it parses the module's parameters,
/// before any code of the module runs. No code writes them after that.
pub struct StringParam<const N: usize>(UnsafeCell<[u8; N]>);

// SAFETY: No code writes the bytes while code of the module can read them, by the type invariants.
unsafe impl<const N: usize> Sync for StringParam<N> {}

impl<const N: usize> StringParam<N> {
    #[doc(hidden)]
    pub const fn new() -> Self {
        const { assert!(N > 0, "no room for the NUL byte") };

        // INVARIANT: All bytes are NUL, and there is at least one.
        Self(UnsafeCell::new([0; N]))
    }

    /// The value of the parameter.
    pub fn value(&self) -> &CStr {
        // SAFETY: The bytes contain a NUL and do not change any more, by the type invariants.
        unsafe { CStr::from_char_ptr(self.0.get().cast()) }
    }
}

impl<const N: usize> Default for StringParam<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// The C description of a [`StringParam`]: the address and the size of its bytes.
#[doc(hidden)]
#[repr(transparent)]
pub struct Target(bindings::kparam_string);

// SAFETY: The pointer points to a static parameter, which only the module loader writes through it.
unsafe impl Sync for Target {}

impl Target {
    #[doc(hidden)]
    pub const fn new<const N: usize>(param: &'static StringParam<N>) -> Self {
        Self(bindings::kparam_string {
            // CAST: `N` is the size of a static of a few bytes.
            maxlen: N as u32,
            string: param.0.get().cast::<c_char>(),
        })
    }
}

/// An entry in the module's table of parameters.
#[doc(hidden)]
#[repr(transparent)]
pub struct Entry(bindings::kernel_param);

// SAFETY: Only the module loader reads an entry.
unsafe impl Sync for Entry {}

impl Entry {
    #[doc(hidden)]
    pub const fn new(name: &'static CStr, module: &ThisModule, target: &'static Target) -> Self {
        Self(bindings::kernel_param {
            name: as_char_ptr_in_const_context(name),
            mod_: module.as_ptr(),
            ops: &raw const bindings::param_ops_string,
            perm: 0,
            level: -1,
            flags: 0,
            __bindgen_anon_1: bindings::kernel_param__bindgen_ty_1 {
                str_: core::ptr::from_ref(target).cast(),
            },
        })
    }
}

/// Declares a module parameter that is a string.
///
/// If the string does not fit, loading the module fails with `ENOSPC`.
///
/// # Examples
///
/// ```ignore
/// daxmf::string_param! {
///     /// The block device to hold.
///     device: 64, "block device to hold, a path"
/// }
///
/// fn open() -> Result<DeviceFile> {
///     DeviceFile::open(device.value())
/// }
/// ```
#[macro_export]
#[allow(
    clippy::crate_in_macro_def,
    reason = "the parameter belongs to the calling module"
)]
macro_rules! string_param {
    ($(#[$meta:meta])* $name:ident: $size:literal, $description:literal) => {
        $(#[$meta])*
        #[allow(non_upper_case_globals)]
        static $name: $crate::module_param::StringParam<$size> =
            $crate::module_param::StringParam::new();

        const _: () = {
            static TARGET: $crate::module_param::Target =
                $crate::module_param::Target::new(&$name);

            #[link_section = "__param"]
            #[used(compiler)]
            static ENTRY: $crate::module_param::Entry = $crate::module_param::Entry::new(
                // `Entry::new()` needs the name as a C string, in a constant.
                match ::core::ffi::CStr::from_bytes_with_nul(
                    ::core::concat!(::core::stringify!($name), "\0").as_bytes(),
                ) {
                    Ok(name) => name,
                    Err(_) => ::core::unreachable!(),
                },
                ::kernel::module::this_module::<crate::LocalModule>(),
                &TARGET,
            );

            $crate::__modinfo!(
                PARM,
                ::core::concat!("parm=", ::core::stringify!($name), ":", $description, "\0")
            );
            $crate::__modinfo!(
                TYPE,
                ::core::concat!("parmtype=", ::core::stringify!($name), ":string\0")
            );
        };
    };
}

/// Adds a line to the module's `modinfo` output.
#[doc(hidden)]
#[macro_export]
macro_rules! __modinfo {
    ($name:ident, $line:expr) => {
        #[link_section = ".modinfo"]
        #[used(compiler)]
        static $name: [u8; $line.len()] = {
            let mut bytes = [0; $line.len()];
            let mut i = 0;

            while i < bytes.len() {
                bytes[i] = $line.as_bytes()[i];
                i += 1;
            }
            bytes
        };
    };
}
