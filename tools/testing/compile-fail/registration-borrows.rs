// SPDX-License-Identifier: GPL-2.0

//! A holder that is registered with C cannot borrow. If the registration is forgotten, C still
//! calls the holder after the end of the borrow.

use daxmf::{
    block::OpenDevice,
    dax::holder::{
        Holder,
        Registration, //
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
use kernel::{
    prelude::*,
    sync::Arc, //
};

struct Borrower<'a>(&'a [u8]);

impl Holder for Borrower<'static> {
    fn notify_failure(&self, _range: ByteRange<space::Volume>, _flags: Flags) -> Outcome {
        Outcome::Delivered
    }
}

fn register<H: Holder>(device: &OpenDevice, holder: H) -> Result {
    core::mem::forget(Registration::new(device, Arc::new(holder, GFP_KERNEL)?)?);
    Ok(())
}

fn register_borrower(device: &OpenDevice, bytes: &[u8]) -> Result {
    register(device, Borrower(bytes))?; //~ E0521 borrowed data escapes outside of function
    Ok(())
}
