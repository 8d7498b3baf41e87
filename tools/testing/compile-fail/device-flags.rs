// SPDX-License-Identifier: GPL-2.0

//! Only the provider of a device sets its flags, and not a consumer.

use daxmf::dax::Device;

fn set_flags(device: &Device) {
    let _cache = device.write_cache();
    device.set_write_cache(false); //~ E0599 no method named `set_write_cache` found
    device.set_synchronous(); //~ E0599 no method named `set_synchronous` found
}
