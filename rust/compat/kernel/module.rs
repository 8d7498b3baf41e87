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
/// `M` must be the type of the calling module: the result is always the calling module, because the
/// kernel's trait does not name the module of a type.
#[inline(always)]
pub const fn this_module<M: ModuleMetadata>() -> &'static ThisModule {
    #[allow(improper_ctypes, reason = "without lockdep, it has zero-sized members")]
    extern "C" {
        // Each module has a symbol of this name, and is linked against its own.
        static __this_module: Opaque<bindings::module>;
    }

    const {
        // SAFETY: The module loader initializes `__this_module`, and frees it together with the
        // code of the module. This only takes its address.
        &unsafe { ThisModule::from_ptr(Opaque::cast_into(&raw const __this_module)) }
    }
}
