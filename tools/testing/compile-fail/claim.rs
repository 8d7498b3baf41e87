// SPDX-License-Identifier: GPL-2.0

//! A driver claims memory through the namespace, and not by a physical address.

use daxmf::{
    nvdimm::namespace::Bound,
    pagemap::Claim, //
};

fn claim(bound: &Bound<'_>) {
    let _own = bound.claim();
    let _any = Claim::new; //~ E0624 associated function `new` is private
}
