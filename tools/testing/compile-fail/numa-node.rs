// SPDX-License-Identifier: GPL-2.0

//! A number is not a NUMA node, because C uses the node as an index into a table without a check.

use daxmf::{
    block::{
        Disk,
        Features, //
    },
    nvdimm::namespace::Bound,
};
use kernel::error::Result;

fn disk(bound: &Bound<'_>) -> Result<Disk> {
    let _any = Disk::new(512, Features::DAX, 1 << 20)?; //~ E0308 mismatched types

    Disk::new(512, Features::DAX, bound.node())
}
