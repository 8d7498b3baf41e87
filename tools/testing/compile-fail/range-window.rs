// SPDX-License-Identifier: GPL-2.0

//! Each direction of a window takes ranges of one space, and ranges of two spaces cannot be
//! compared.

use daxmf::range::{
    ByteRange,
    Space,
    Window, //
};

/// The bytes of a mapped device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upper {}

/// The bytes of a device below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lower {}

impl Space for Upper {}
impl Space for Lower {}

fn cross(segment: Window<Lower, Upper>, upper: ByteRange<Upper>, lower: ByteRange<Lower>) {
    let _ = segment.inward(lower);
    let _ = segment.outward(upper);
    let _ = segment.inward(upper); //~ E0308 mismatched types
    let _ = segment.outward(lower); //~ E0308 mismatched types
    let _ = upper.clip(lower); //~ E0308 mismatched types
    let _ = upper == lower; //~ E0308 mismatched types
}
