// SPDX-License-Identifier: GPL-2.0

//! Only a disk that is registered, and so has a parent, follows a namespace.

use daxmf::{
    block::Disk,
    nvdimm::namespace::Bound, //
};

fn follow(bound: &Bound<'_>, disk: &Disk) {
    let (_, _) = (bound, disk);
    let _ = bound.update_read_only(disk); //~ E0308 mismatched types
}
