// SPDX-License-Identifier: GPL-2.0

//! The source of a write cannot be written: it can be a file that was opened read-only.

use daxmf::{
    block::bio::{
        Segment,
        Source, //
    },
    pagemap::{
        Operations,
        PageMap, //
    },
};

fn write<T: Operations>(map: &PageMap<T>, from: &Segment<'_, Source>) {
    let (_, _) = (map, from);
    let _ = map.read(from, |_| ()); //~ E0308 mismatched types
}
