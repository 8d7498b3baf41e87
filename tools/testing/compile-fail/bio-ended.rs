// SPDX-License-Identifier: GPL-2.0

//! A driver cannot use a bio after `end()`.

use daxmf::block::Bio;

fn end(bio: Bio) {
    bio.end(Ok(()));
    let _is_fua = bio.is_fua(); //~ E0382 borrow of moved value: `bio`
}
