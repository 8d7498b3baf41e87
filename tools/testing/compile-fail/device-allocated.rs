// SPDX-License-Identifier: GPL-2.0

//! An allocated device has no data yet, so it gives no access to the `Device`.

use daxmf::dax::device::{
    Allocated,
    Operations, //
};

fn early<T: Operations>() -> kernel::error::Result {
    let allocated = Allocated::<T>::new()?;

    let _control = allocated.control();
    let _device = allocated.device(); //~ E0599 no method named `device` found
    Ok(())
}
