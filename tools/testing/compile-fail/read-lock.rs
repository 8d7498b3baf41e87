// SPDX-License-Identifier: GPL-2.0

//! The thread that takes the read side of `dax_srcu` must release it.

use daxmf::dax::ReadLock;

fn send<T: Send>(_value: T) {}

fn send_lock() {
    let lock = ReadLock::new();

    send(lock); //~ E0277 cannot be sent between threads safely
}
