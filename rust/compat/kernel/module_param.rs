// SPDX-License-Identifier: GPL-2.0

//! Support for module parameters.

use kernel::{
    prelude::*,
    sync::SetOnce, //
};

pub use kernel::module_param::*;

/// A module parameter, made by the macro `module!`.
///
/// The kernel's own type does not say where in it the `SetOnce` lies that its `set_param()` takes
/// the pointer to a parameter for.
#[repr(C)]
pub struct ModuleParamAccess<T> {
    // Here, it is the first field.
    value: SetOnce<T>,
    default: T,
}

// SAFETY: A `SetOnce` is set once, by the module loader; all others have shared references to the
// fields.
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
