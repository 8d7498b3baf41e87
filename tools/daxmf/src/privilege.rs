// SPDX-License-Identifier: GPL-2.0

//! Checks for the privileges of root.

use std::fs;

/// `CAP_SYS_ADMIN` of linux/capability.h.
const CAP_SYS_ADMIN: u32 = 21;

/// Checks that this process has `CAP_SYS_ADMIN`. In a user namespace, the kernel can still refuse
/// calls that need it. The error ends with `why` the capability is needed.
pub fn check(why: &str) -> Result<(), String> {
    match effective_capabilities().is_some_and(|all| all & (1 << CAP_SYS_ADMIN) != 0) {
        true => Ok(()),
        false => Err(format!("needs root (CAP_SYS_ADMIN): {why}")),
    }
}

fn effective_capabilities() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;

    u64::from_str_radix(line.trim(), 16).ok()
}
