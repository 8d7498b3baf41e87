// SPDX-License-Identifier: GPL-2.0

//! An offset in a file is not an offset in the volume.

use daxmf::{
    fs::Volume,
    range::{
        space,
        ByteRange,
        Window, //
    },
};

fn zero(
    volume: &Volume,
    extent: Window<space::Volume, space::File>,
    range: ByteRange<space::File>,
) {
    let _ = volume.zero(range); //~ E0308 mismatched types
    if let Some(range) = extent.outward(range) {
        let _ = volume.zero(range);
    }
}
