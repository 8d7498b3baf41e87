// SPDX-License-Identifier: GPL-2.0

//! The modules' counters of memory failures and their outcomes.

use serde_json::Value;

use crate::bad;

/// The counters of `daxmf_stack`, in the directories LOWER and LOWER/UPPER.
pub const STACK: &str = "/sys/kernel/debug/daxmf_stack";

/// The names of the counters, and of their files.
pub const NAMES: [&str; 4] = ["received", "delivered", "declined", "failed"];

/// The counters, in the order of [`NAMES`].
pub type Counts = [u64; NAMES.len()];

/// Reads the counters in a directory.
pub fn read(folder: &str) -> Result<Counts, String> {
    let mut counts = [0; NAMES.len()];

    for (count, name) in counts.iter_mut().zip(NAMES) {
        *count = bad::number(&format!("{folder}/{name}"))?;
    }
    Ok(counts)
}

/// The counters as a JSON object.
pub fn to_json(counts: &Counts) -> Value {
    NAMES
        .iter()
        .zip(counts)
        .map(|(name, count)| (String::from(*name), Value::from(*count)))
        .collect()
}
