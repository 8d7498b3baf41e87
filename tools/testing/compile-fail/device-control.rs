// SPDX-License-Identifier: GPL-2.0

//! A `Control` gives no access to the memory of its device.

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

fn locate(control: &Control, pages: PageRange<space::Device>) {
    let lock = ReadLock::new();

    let (_, _, _) = (control, pages, &lock);
    let _place = control.locate(pages, &lock); //~ E0599 no method named `locate` found
}
