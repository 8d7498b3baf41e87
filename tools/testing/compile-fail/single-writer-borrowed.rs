// SPDX-License-Identifier: GPL-2.0

//! The writer of a value keeps nothing of it while it changes.

use daxmf::single_writer::Writer;
use kernel::prelude::*;

fn change(writer: &mut Writer<KVec<u8>>) {
    let first = writer.first();

    writer.change().clear(); //~ E0502 cannot borrow `*writer` as mutable
    let _first = first.copied();
}
