// SPDX-License-Identifier: GPL-2.0

//! Allocations without reclaim need a closure, because a guard could be dropped out of order.

use daxmf::fs;
use kernel::prelude::*;

fn allocate() -> Result {
    let _memory = fs::without_reclaim(|| KBox::new(7, GFP_KERNEL))?;
    let _scope = fs::NoReclaim::new(); //~ E0433 could not find `NoReclaim` in `fs`
    Ok(())
}
