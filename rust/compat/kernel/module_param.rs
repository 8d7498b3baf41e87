// SPDX-License-Identifier: GPL-2.0

//! Support for module parameters.

use kernel::{
    prelude::*,
    sync::SetOnce, //
};

pub use kernel::module_param::*;

/// A module parameter, made by the macro `module!`.
///
/// The kernel's `set_param()` takes a pointer to the `SetOnce` of a parameter. The layout of the
/// kernel's own type is not defined, so a pointer to the parameter may not point to its `SetOnce`.
#[repr(C)]
pub struct ModuleParamAccess<T> {
    // The first field, so that a pointer to the parameter is a pointer to the `SetOnce`.
    value: SetOnce<T>,
    default: T,
}

// SAFETY: The module loader sets the `SetOnce` once. All other code has shared references to the
// fields, and `T` is `Sync`.
unsafe impl<T: Sync> Sync for ModuleParamAccess<T> {}

impl<T: Copy> ModuleParamAccess<T> {
    #[doc(hidden)]
    pub const fn new(default: T) -> Self {
        Self {
            value: SetOnce::new(),
            default,
        }
    }

    /// The value that the module was loaded with, or the default.
    pub fn value(&self) -> T {
        self.value.copy().unwrap_or(self.default)
    }

    #[doc(hidden)]
    pub const fn as_void_ptr(&self) -> *mut c_void {
        core::ptr::from_ref(self).cast_mut().cast()
    }
}
