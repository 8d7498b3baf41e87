// SPDX-License-Identifier: GPL-2.0

//! Memory is claimed from the namespace that has it, and not by its address.

use daxmf::{
    nvdimm::namespace::Bound,
    pagemap::Claim, //
};

fn claim(bound: &Bound<'_>) {
    let _own = bound.claim();
    let _any = Claim::new; //~ E0624 associated function `new` is private
}
