// SPDX-License-Identifier: GPL-2.0

//! Reports of damaged metadata.

use daxmf::fs::Volume;
use kernel::{
    fmt,
    prelude::*, //
};

use crate::format::{
    Fault,
    UNITS, //
};

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

/// Logs that the record at an address is damaged. Returns `EUCLEAN`.
pub(crate) fn report_damage(volume: &Volume, address: u64, what: impl fmt::Display) -> Error {
    let (block, unit) = (address / UNITS, address % UNITS);

    pr_err!("{volume}: metadata block {block}, unit {unit}: {what}\n");
    EUCLEAN
}
