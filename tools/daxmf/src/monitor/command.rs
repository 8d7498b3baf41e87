// SPDX-License-Identifier: GPL-2.0

//! The command that is run for each event.

use std::process::{Command, Stdio};

use crate::events::Record;

/// Runs a shell command, and waits for it. Further events stay in the event log in the meantime.
pub fn run(command: &str, record: &Record) -> Result<(), String> {
    let status = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .envs(record.fields().map(|(name, value)| (variable(name), value)))
        .status()
        .map_err(|error| format!("{command}: {error}"))?;

    match status.success() {
        true => Ok(()),
        false => Err(format!("{command}: {status}")),
    }
}

/// The name of a field in the environment and in the journal.
pub fn variable(name: &str) -> String {
    format!("DAXMF_{}", name.to_uppercase())
}
