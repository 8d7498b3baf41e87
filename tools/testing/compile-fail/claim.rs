// SPDX-License-Identifier: GPL-2.0

//! Memory is claimed from the namespace that has it, and not by its address.

use daxmf::{
    nvdimm::namespace::Bound,
    pagemap::Claim,
    range::{
        space,
        ByteRange, //
    },
};
use kernel::str::CString;

fn claim(bound: &Bound<'_>, range: ByteRange<space::Physical>, name: CString) {
    let _own = bound.claim();

    let (_, _) = (range, &name);
    let _any = Claim::new(range, name); //~ E0624 associated function `new` is private
}
