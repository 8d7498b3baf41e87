// SPDX-License-Identifier: GPL-2.0

//! A driver cannot use the memory of a bio after `end()`.

use daxmf::block::{
    bio::Transfer,
    Bio, //
};

fn end(bio: Bio) {
    if let Ok(Some(Transfer::Read(mut segments))) = bio.transfer() {
        bio.end(Ok(())); //~ E0505 cannot move out of `bio` because it is borrowed
        let _segment = segments.next();
    }
}
