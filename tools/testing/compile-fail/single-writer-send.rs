// SPDX-License-Identifier: GPL-2.0

//! A shared value must be `Sync`, and the thread that takes a lock must release it.

use core::cell::Cell;

use daxmf::single_writer::Writer;

fn send<T: Send>(_value: T) {}

fn share(writer: Writer<Cell<u8>>) {
    send(writer.reader()); //~ E0277 `Cell<u8>` cannot be shared between threads safely
}

fn give_away(writer: &mut Writer<u8>) {
    send(writer.change()); //~ E0277 cannot be sent between threads safely
    send(writer.reader().read()); //~ E0277 cannot be sent between threads safely
}
