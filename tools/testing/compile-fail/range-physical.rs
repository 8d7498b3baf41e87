// SPDX-License-Identifier: GPL-2.0

//! A physical address is not an offset in the device.

use daxmf::{
    dax::device::Control,
    memory_failure::Flags,
    nvdimm::Namespace,
    range::{
        space,
        ByteRange, //
    },
};

fn fail(namespace: &Namespace, control: &Control, failed: ByteRange<space::Physical>) {
    let _ = control.notify_failure(failed, Flags::NONE); //~ E0308 mismatched types
    if let Some(failed) = namespace.window().inward(failed) {
        let _ = control.notify_failure(failed, Flags::NONE);
    }
}
