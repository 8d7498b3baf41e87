// SPDX-License-Identifier: GPL-2.0

//! The control of a device gives no access to its memory.

use daxmf::{
    dax::{
        device::Control,
        ReadLock, //
    },
    range::{
        space,
        PageRange, //
    },
};

fn look(control: &Control, pages: PageRange<space::Device>) {
    let lock = ReadLock::new();

    let (_, _, _) = (control, pages, &lock);
    let _place = control.locate(pages, &lock); //~ E0599 no method named `locate` found
}
