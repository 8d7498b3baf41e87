// SPDX-License-Identifier: GPL-2.0

//! The destination of a read cannot be the source of a write: it has no data yet.

use daxmf::{
    block::bio::{
        Destination,
        Segment, //
    },
    pagemap::{
        Operations,
        PageMap, //
    },
};

fn read<T: Operations>(map: &PageMap<T>, to: &Segment<'_, Destination>) {
    let (_, _) = (map, to);
    let _ = map.write(to); //~ E0308 mismatched types
}
