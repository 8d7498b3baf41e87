// SPDX-License-Identifier: GPL-2.0

//! A DAX device is registered once, and goes once.

use daxmf::dax::device::{
    Operations,
    Registration, //
};

fn register<T: Operations>(registration: &Registration<T>) {
    let _device = registration.device();
    let _again = Registration::clone(registration); //~ E0277 device::Registration<_>: Clone`
}
