// SPDX-License-Identifier: GPL-2.0

//! The writer of a value cannot keep a reference into the value while it changes the value.

use daxmf::single_writer::Writer;
use kernel::prelude::*;

fn change(writer: &mut Writer<KVec<u8>>) {
    let first = writer.first();

    writer.change().clear(); //~ E0502 cannot borrow `*writer` as mutable
    let _first = first.copied();
}
