// SPDX-License-Identifier: GPL-2.0

//! A disk cannot be registered twice.

use daxmf::block::{
    disk::Config,
    Disk,
    Operations,
    Registration, //
};
use kernel::{
    device::{
        Bound,
        Device, //
    },
    error::Result,
    sync::Arc, //
};

fn register_twice<T: Operations>(
    parent: &Device<Bound>,
    disk: Disk,
    configs: [Config<'_>; 2],
    data: Arc<T>,
) -> Result {
    let [first, second] = configs;
    let _first = Registration::new(parent, disk, first, data.clone())?;

    let (_, _) = (second, &data);
    let _second = Registration::new(parent, disk, second, data)?; //~ E0382 moved value: `disk`
    Ok(())
}
