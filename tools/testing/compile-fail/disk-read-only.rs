// SPDX-License-Identifier: GPL-2.0

//! Only a registered disk has a parent, so only such a disk can become read-only with its
//! namespace.

use daxmf::{
    block::Disk,
    nvdimm::namespace::Bound, //
};

fn update(bound: &Bound<'_>, disk: &Disk) {
    let (_, _) = (bound, disk);
    let _ = bound.update_read_only(disk); //~ E0308 mismatched types
}
