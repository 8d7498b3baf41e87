// SPDX-License-Identifier: GPL-2.0

//! What became of memory failures, as the modules count them.

use serde_json::Value;

use crate::bad;

/// Where `daxmf_stack` has its counters, LOWER and LOWER/UPPER.
pub const STACK: &str = "/sys/kernel/debug/daxmf_stack";

/// The files that have them.
pub const NAMES: [&str; 4] = ["received", "delivered", "declined", "failed"];

/// In the order of their names.
pub type Counts = [u64; NAMES.len()];

/// Reads the counters in a folder.
pub fn read(folder: &str) -> Result<Counts, String> {
    let mut counts = [0; NAMES.len()];

    for (count, name) in counts.iter_mut().zip(NAMES) {
        *count = bad::number(&format!("{folder}/{name}"))?;
    }
    Ok(counts)
}

/// The counters as an object.
pub fn to_json(counts: &Counts) -> Value {
    NAMES
        .iter()
        .zip(counts)
        .map(|(name, count)| (String::from(*name), Value::from(*count)))
        .collect()
}
