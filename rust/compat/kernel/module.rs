// SPDX-License-Identifier: GPL-2.0

//! Module-related types and helpers.

use kernel::{
    bindings,
    types::Opaque, //
};

pub use kernel::{
    InPlaceModule,
    Module,
    ModuleMetadata,
    ThisModule, //
};

/// Returns a reference to the `THIS_MODULE` of the given module type.
///
/// The type must be that of the module that calls this: the kernel's trait does not say which
/// module a type is of.
#[inline(always)]
pub const fn this_module<M: ModuleMetadata>() -> &'static ThisModule {
    #[allow(improper_ctypes, reason = "without lockdep, it has members of no size")]
    extern "C" {
        // Each module has a symbol of this name, and is linked against its own.
        static __this_module: Opaque<bindings::module>;
    }

    const {
        // SAFETY: The module loader makes `__this_module`, and frees it after all that is linked
        // against it. Here, only its address is taken.
        &unsafe { ThisModule::from_ptr(Opaque::cast_into(&raw const __this_module)) }
    }
}
