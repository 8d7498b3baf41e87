// SPDX-License-Identifier: GPL-2.0

//! Only the crate's page map can make a value of `Frames`.

use daxmf::{
    pagemap::Frames,
    range::{
        space,
        PageRange, //
    },
};

fn poison(frames: Frames<'_>, range: PageRange<space::Physical>) {
    let _range = range;
    Frames { range, ..frames }.set_poisoned(); //~ E0451 field `range` of struct `Frames` is private
}
