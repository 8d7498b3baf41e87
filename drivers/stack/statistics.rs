// SPDX-License-Identifier: GPL-2.0

//! The counters of a device, in debugfs.

use daxmf::memory_failure::Counters;
use kernel::{
    debugfs::{
        Dir,
        File, //
    },
    prelude::*,
    sync::Arc, //
};

/// The counters of a device, as files of a directory in debugfs.
#[pin_data]
pub(crate) struct Statistics {
    #[pin]
    received: File<Arc<Counters>>,
    #[pin]
    delivered: File<Arc<Counters>>,
    #[pin]
    declined: File<Arc<Counters>>,
    #[pin]
    failed: File<Arc<Counters>>,
    dir: Dir,
}

impl Statistics {
    pub(crate) fn new(dir: Dir, counters: Arc<Counters>) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            dir: dir,
            received <- dir.read_callback_file(
                c"received",
                counters.clone(),
                &|counters: &Arc<Counters>, f| writeln!(f, "{}", counters.received()),
            ),
            delivered <- dir.read_callback_file(
                c"delivered",
                counters.clone(),
                &|counters: &Arc<Counters>, f| writeln!(f, "{}", counters.delivered()),
            ),
            declined <- dir.read_callback_file(
                c"declined",
                counters.clone(),
                &|counters: &Arc<Counters>, f| writeln!(f, "{}", counters.declined()),
            ),
            failed <- dir.read_callback_file(
                c"failed",
                counters,
                &|counters: &Arc<Counters>, f| writeln!(f, "{}", counters.failed()),
            ),
        })
    }

    pub(crate) fn dir(&self) -> &Dir {
        &self.dir
    }
}
