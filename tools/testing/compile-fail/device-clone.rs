// SPDX-License-Identifier: GPL-2.0

//! The registration of a DAX device cannot be cloned: the device is removed once.

use daxmf::dax::device::{
    Operations,
    Registration, //
};

fn register<T: Operations>(registration: &Registration<T>) {
    let _device = registration.device();
    let _again = Registration::clone(registration); //~ E0277 device::Registration<_>: Clone`
}
