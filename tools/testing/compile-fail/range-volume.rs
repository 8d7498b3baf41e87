// SPDX-License-Identifier: GPL-2.0

//! The range of a holder's notification counts from the start of its own block device. It is
//! neither a range of another device nor of the whole disk.

use daxmf::{
    dax::{
        Device,
        Holder, //
    },
    memory_failure::{
        Flags,
        Outcome, //
    },
    range::{
        space,
        ByteRange, //
    },
};
use kernel::sync::aref::ARef;

struct Forwarder {
    upper: ARef<Device>,
}

impl Holder for Forwarder {
    fn notify_failure(&self, range: ByteRange<space::Volume>, flags: Flags) -> Outcome {
        let _ = self.upper.notify_failure(range, flags); //~ E0308 mismatched types
        self.upper.notify_failure(ByteRange::ALL, flags)
    }
}
