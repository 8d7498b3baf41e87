// SPDX-License-Identifier: GPL-2.0

//! Bindings to the C interfaces that the kernel crate's own bindings lack.
//!
//! Only this crate uses these bindings, because they are the raw C interface. This file re-exports
//! the kernel crate's bindings, so that the rest of the crate uses one module for all bindings.

#![allow(
    clippy::all,
    clippy::as_underscore,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]

pub(crate) use kernel::bindings::*;
use kernel::ffi;

include!(concat!(
    env!("DAXMF_OBJ"),
    "/rust/bindings/bindings_generated.rs"
));
include!(concat!(
    env!("DAXMF_OBJ"),
    "/rust/bindings/helpers_generated.rs"
));
