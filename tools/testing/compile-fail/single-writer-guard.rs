// SPDX-License-Identifier: GPL-2.0

//! A reference into a shared value cannot outlive the lock.

use daxmf::single_writer::{
    Reader,
    WriteGuard,
    Writer, //
};

fn read(reader: &Reader<[u8; 2]>) -> u8 {
    let guard = reader.read();
    let first = guard.first();

    drop(guard); //~ E0505 cannot move out of `guard` because it is borrowed
    first.copied().unwrap_or(0)
}

fn change<'a>(writer: &'a mut Writer<[u8; 2]>) -> Option<&'a mut u8> {
    let mut guard = writer.change();

    return guard.first_mut(); //~ E0515 cannot return value referencing local variable `guard`
    None
}

fn read_and_change(writer: &mut Writer<[u8; 2]>) {
    let guard: WriteGuard<'_, [u8; 2]> = writer.change();

    let _ = writer.first(); //~ E0502 cannot borrow `*writer` as immutable
    drop(guard);
}
