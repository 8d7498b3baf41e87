// SPDX-License-Identifier: GPL-2.0

//! A bio that has ended is the driver's no longer.

use daxmf::block::Bio;

fn end(bio: Bio) {
    bio.end(Ok(()));
    let _is_fua = bio.is_fua(); //~ E0382 borrow of moved value: `bio`
}
