// SPDX-License-Identifier: GPL-2.0

//! The control of a device gives no access to its memory.

use daxmf::{
    dax::{
        device::Control,
        ReadLock, //
    },
    range::FrameRange, //
};

fn look(control: &Control, pages: FrameRange) {
    let lock = ReadLock::new();

    let (_, _, _) = (control, pages, &lock);
    let _frames = control.frames(pages, &lock); //~ E0599 no method named `frames` found
}
