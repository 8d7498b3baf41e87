// SPDX-License-Identifier: GPL-2.0

//! A holder must be `Sync`, because several threads can call it at the same time.

use core::cell::Cell;

use daxmf::{
    dax::Holder,
    memory_failure::{
        Flags,
        Outcome, //
    },
    range::{
        space,
        ByteRange, //
    },
};

type Count = Cell<u64>;

struct Counter {
    _notified: Count, //~ wrong
}

impl Holder for Counter {
    //~^ E0277 `Cell<u64>` cannot be shared between threads safely
    fn notify_failure(&self, _range: ByteRange<space::Volume>, _flags: Flags) -> Outcome {
        Outcome::Delivered
    }
}
