// SPDX-License-Identifier: GPL-2.0

//! What a device needs its provider says, and not its consumer.

use daxmf::dax::Device;

fn flip(device: &Device) {
    let _cache = device.write_cache();
    device.set_write_cache(false); //~ E0599 no method named `set_write_cache` found
    device.set_synchronous(); //~ E0599 no method named `set_synchronous` found
}
