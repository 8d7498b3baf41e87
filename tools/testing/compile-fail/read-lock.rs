// SPDX-License-Identifier: GPL-2.0

//! The read side of `dax_srcu` is left on the thread that has entered it.

use daxmf::dax::ReadLock;

fn send<T: Send>(_value: T) {}

fn take() {
    let lock = ReadLock::new();

    send(lock); //~ E0277 cannot be sent between threads safely
}
